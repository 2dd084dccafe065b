"""Runs an ONNX model on the GPU where there is one, else on the CPU. Made by `app`, called by the batcher's thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import onnxruntime
import structlog
from numpy.typing import NDArray

from agents.embedder.embedder import Pixels, Vectors, unit_rows
from agents.embedder.model import ModelSpec
from schemas.errors import StopProcess

log = structlog.get_logger(__name__)

Device = Literal["auto", "cpu", "cuda"]

CUDA: Final = "CUDAExecutionProvider"
CPU: Final = "CPUExecutionProvider"
# Without the search and without TF32 the same image gives the same vector in every process; the default search times
# the kernels anew for every batch size and picks the fastest of that moment.
CUDA_OPTIONS: Final = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
PREFERRED_OUTPUT: Final = "embedding"


@dataclass(frozen=True)
class ModelInput:
    """How the file wants its images. `batch`: images of every inference when the file fixes them, else 0."""

    name: str
    floats: bool
    channels_first: bool
    batch: int


class OnnxSession:
    """An `Embedder` on onnxruntime.

    `device`: ``cuda`` insists on a GPU, ``auto`` takes one when onnxruntime finds it. `threads`: of one inference on
    the CPU, 0 for one a core.
    Raises StopProcess naming the setting when the file is missing or is no model of the described kind.
    """

    def __init__(self, spec: ModelSpec, *, device: Device = "auto", threads: int = 0) -> None:
        self.spec = spec
        self._session = _open(spec, device, threads)
        self.device: str = "cuda" if self._session.get_providers()[0] == CUDA else "cpu"
        if device == "cuda" and self.device != "cuda":
            raise StopProcess("EMBEDDING_DEVICE: is cuda, but onnxruntime finds no usable GPU (see its log above)")
        self._input = _find_input(self._session, spec)
        self._output = _find_output(self._session)
        self._probe()
        log.info("model_ready", model=spec.model_id, device=self.device, dimension=spec.dimension, path=str(spec.path))

    @property
    def model_id(self) -> str:
        """Name and version, recorded with every vector."""
        return self.spec.model_id

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.spec.dimension

    @property
    def input_size(self) -> int:
        """Side of the square that images are resized to, in pixels."""
        return self.spec.input_size

    def embed(self, batch: Pixels) -> Vectors:
        """See `Embedder.embed`."""
        return unit_rows(self._infer(batch))

    def _infer(self, batch: Pixels) -> Vectors:
        step = self._input.batch or len(batch)
        parts = [self._run(batch[start : start + step], step) for start in range(0, len(batch), step)]
        return np.concatenate(parts)

    def _run(self, part: Pixels, size: int) -> Vectors:
        count = len(part)
        if count < size:
            part = np.concatenate([part, np.zeros((size - count, *part.shape[1:]), np.uint8)])
        (raw,) = self._session.run([self._output], {self._input.name: to_model_input(part, self._input, self.spec)})
        vectors: Vectors = raw.reshape(size, -1)[:count].astype(np.float32, copy=False)
        return vectors

    def _probe(self) -> None:
        """Embed one grey picture: checks shapes that the file leaves open, and loads the GPU's kernels."""
        size = self.spec.input_size
        try:
            found = self._infer(np.full((1, size, size, 3), 128, np.uint8)).shape[1]
        except Exception as error:  # onnxruntime raises types of its own that share no base class
            raise StopProcess(f"MODEL_PATH: {self.spec.path} cannot embed {size}×{size} pixels: {error}") from error
        if found != self.spec.dimension:
            raise StopProcess(f"MODEL_DIMENSION: is {self.spec.dimension}, the model gives vectors of {found}")


def to_model_input(batch: Pixels, model: ModelInput, spec: ModelSpec) -> NDArray[Any]:
    """The batch as the model wants it: raw or normalised, channels last or first."""
    values: NDArray[Any] = batch
    if model.floats:
        mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
        values = (batch.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2)) if model.channels_first else values


def _open(spec: ModelSpec, device: Device, threads: int) -> Any:
    if not spec.path.is_file():
        raise StopProcess(f"MODEL_PATH: there is no file {spec.path}")
    available = onnxruntime.get_available_providers()
    providers: list[Any] = [CPU]
    if device != "cpu" and CUDA in available:
        onnxruntime.preload_dlls()  # finds CUDA and cuDNN also where they came as wheels
        providers.insert(0, (CUDA, CUDA_OPTIONS))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Idle inference threads would otherwise spin on the cores that decode the next images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    log.info("model_opening", path=str(spec.path), wanted=device, available=available)
    try:
        return onnxruntime.InferenceSession(str(spec.path), options, providers=providers)
    except Exception as error:  # onnxruntime raises types of its own that share no base class
        raise StopProcess(f"MODEL_PATH: onnxruntime cannot load {spec.path}: {error}") from error


def _find_input(session: Any, spec: ModelSpec) -> ModelInput:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise StopProcess(f"MODEL_PATH: the model has {len(inputs)} inputs, one image input is needed")
    image, size = inputs[0], spec.input_size
    if image.type not in ("tensor(uint8)", "tensor(float)"):
        raise StopProcess(f"MODEL_PATH: the model takes {image.type}, only uint8 and float32 images are fed")
    floats = image.type == "tensor(float)"
    if floats and spec.mean is None:
        raise StopProcess("MODEL_MEAN: needed with MODEL_STD, because the model takes floats")
    if not floats and spec.mean is not None:
        raise StopProcess("MODEL_MEAN: must be unset, because the model takes pixels and normalises them itself")
    # A file may leave all its axes open; exporters of float models put the channels first, of uint8 models last.
    orders = [True, False] if floats else [False, True]
    for channels_first in orders:
        wanted = [3, size, size] if channels_first else [size, size, 3]
        if _accepts(image.shape, wanted):
            batch = image.shape[0] if isinstance(image.shape[0], int) else 0
            return ModelInput(image.name, floats, channels_first, batch)
    raise StopProcess(f"MODEL_INPUT_SIZE: is {size}, the model takes images of {image.shape}")


def _accepts(shape: list[int | str | None], wanted: list[int]) -> bool:
    """Whether an image of `wanted` fits the shape of the file, whose open axes are names or None."""
    if len(shape) != 4:
        return False
    return all(not isinstance(axis, int) or axis == want for axis, want in zip(shape[1:], wanted, strict=True))


def _find_output(session: Any) -> str:
    """The output named ``embedding``, else the first."""
    types = {output.name: output.type for output in session.get_outputs()}
    name = PREFERRED_OUTPUT if PREFERRED_OUTPUT in types else next(iter(types))
    if types[name] not in ("tensor(float)", "tensor(float16)"):
        raise StopProcess(f"MODEL_PATH: the model's output {name} is a {types[name]}, not a vector of floats")
    return name
