"""Which embedder the settings name, and what is recorded of it. Used by the embed role and by `prepare`."""

from __future__ import annotations

from agents.embedder.constant_time import ConstantTimeEmbedder
from agents.embedder.default_model import NAME, VERSION, default_model
from agents.embedder.embedder import Embedder
from agents.embedder.model import ModelSpec
from agents.embedder.session import OnnxSession
from app.settings import Settings
from schemas.errors import StopProcess


def model_id(settings: Settings) -> str:
    """Name and version as they are recorded with vectors, without opening the model."""
    if settings.embedding_constant_time_ms is not None:
        return ConstantTimeEmbedder.model_id
    return f"{settings.embedding_model_name}@{settings.embedding_model_version}"


def open_embedder(settings: Settings) -> Embedder:
    """The embedder. Raises StopProcess naming the setting that is wrong."""
    if settings.embedding_constant_time_ms is not None:
        return ConstantTimeEmbedder(
            seconds_per_batch=settings.embedding_constant_time_ms / 1000,
            dimension=settings.model_dimension,
            input_size=settings.model_input_size,
        )
    return OnnxSession(_spec(settings), device=settings.embedding_device)


def _spec(settings: Settings) -> ModelSpec:
    if settings.model_path is not None:
        return ModelSpec(
            name=settings.embedding_model_name,
            version=settings.embedding_model_version,
            path=settings.model_path,
            dimension=settings.model_dimension,
            input_size=settings.model_input_size,
            mean=settings.model_mean,
            std=settings.model_std,
        )
    if (settings.embedding_model_name, settings.embedding_model_version) != (NAME, VERSION):
        raise StopProcess(f"MODEL_PATH: is needed for a model other than the default {NAME}@{VERSION}")
    return default_model(settings.data_dir / "models")
