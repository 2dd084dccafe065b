"""Which ONNX model makes the vectors. Filled from the settings by `app`, read by `OnnxSession`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from schemas.errors import StopProcess

Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """An ONNX model with one image input and a vector output.

    `dimension`: length of the vector. `input_size`: side of the square input in pixels. `mean`, `std`: per channel, for
    a model that takes floats: it gets (pixel/255 − mean)/std, torchvision's convention. A model that takes uint8 gets
    the RGB pixels as they are, and both stay None.
    Raises StopProcess naming the setting that is wrong.
    """

    name: str
    version: str
    path: Path
    dimension: int
    input_size: int = 224
    mean: Triple | None = None
    std: Triple | None = None

    def __post_init__(self) -> None:
        if not self.name or "@" in self.name:
            raise StopProcess(f"EMBEDDING_MODEL_NAME: must be a name without '@', got {self.name!r}")
        if not self.version:
            raise StopProcess("EMBEDDING_MODEL_VERSION: must not be empty")
        if self.dimension < 1:
            raise StopProcess(f"MODEL_DIMENSION: must be at least 1, got {self.dimension}")
        if self.input_size < 1:
            raise StopProcess(f"MODEL_INPUT_SIZE: must be at least 1, got {self.input_size}")
        if (self.mean is None) != (self.std is None):
            raise StopProcess(f"{'MODEL_MEAN' if self.mean is None else 'MODEL_STD'}: both are set or neither")
        if self.std is not None and min(self.std) <= 0:
            raise StopProcess(f"MODEL_STD: must be positive, got {self.std}")

    @property
    def model_id(self) -> str:
        """What is recorded with every vector; vectors of two ids are never compared."""
        return f"{self.name}@{self.version}"
