"""Reads tensors from a legacy torch stream (`torch.save` before 1.6) without torch. Used by `efficientnet_lite`.

    magic │ protocol │ sys_info │ state │ keys │ count₀ raw₀ │ count₁ raw₁ │ …
    └──────────── five pickles ─────────────┘ └─ one storage per key, in that order ─┘

Pickles can run code, so the unpickler resolves only the five names that such a stream of tensors needs.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import StopProcess

MAGIC: Final = 0x1950A86A20F9469CFC6C
PROTOCOL: Final = 1001

Array = NDArray[Any]


class TorchStreamError(StopProcess):
    """The file is no legacy torch stream of plain tensors."""


class _FloatStorage:
    dtype = np.dtype("<f4")


class _LongStorage:
    dtype = np.dtype("<i8")


class _HalfStorage:
    dtype = np.dtype("<f2")


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_unused: object
) -> _Tensor:
    return _Tensor(storage, offset, tuple(size), tuple(stride))


_ALLOWED: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch", "FloatStorage"): _FloatStorage,
    ("torch", "LongStorage"): _LongStorage,
    ("torch", "HalfStorage"): _HalfStorage,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise TorchStreamError(f"the stream asks for {module}.{name}, which tensors do not need") from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _location, count, view = pid
        if kind != "storage" or view is not None:
            raise TorchStreamError(f"the stream holds a {kind!r} (view: {view!r}), not a plain storage")
        return _Storage(str(key), storage_type.dtype, int(count))


def read_torch_stream(stream: BinaryIO) -> dict[str, Array]:
    """The tensors by name, in the stream's order, as C-contiguous arrays of their own type.

    Raises TorchStreamError when the stream is cut short, of another kind, or asks for anything but tensors.
    """
    try:
        magic, protocol, info, state, keys = (_Unpickler(stream).load() for _ in range(5))
    except (EOFError, pickle.UnpicklingError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise TorchStreamError(f"not a legacy torch stream: {error}") from error
    if magic != MAGIC or protocol != PROTOCOL:
        raise TorchStreamError("not a legacy torch stream: wrong magic number or protocol")
    if not info.get("little_endian", True):
        raise TorchStreamError("written on a big-endian machine")
    tensors: dict[str, _Tensor] = {}
    for name, value in state.items():
        if not isinstance(value, _Tensor):
            raise TorchStreamError(f"{name} is a {type(value).__name__}, not a tensor")
        tensors[name] = value
    storages = _read_storages(stream, keys, {t.storage.key: t.storage for t in tensors.values()})
    return {name: _view(tensor, storages[tensor.storage.key], name) for name, tensor in tensors.items()}


def _read_storages(stream: BinaryIO, keys: list[str], wanted: dict[str, _Storage]) -> dict[str, Array]:
    if set(wanted) - set(keys):
        raise TorchStreamError("a tensor refers to a storage that the stream does not list")
    read: dict[str, Array] = {}
    for key in keys:
        if key not in wanted:
            raise TorchStreamError(f"storage {key} has no tensor, so its type is unknown")
        storage = wanted[key]
        count = int.from_bytes(stream.read(8), "little", signed=True)
        if count != storage.count:
            raise TorchStreamError(f"storage {key} holds {count} values, {storage.count} were announced")
        raw = stream.read(count * storage.dtype.itemsize)
        if len(raw) != count * storage.dtype.itemsize:
            raise TorchStreamError(f"storage {key} is cut short")
        read[key] = np.frombuffer(raw, storage.dtype)
    return read


def _view(tensor: _Tensor, storage: Array, name: str) -> Array:
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    if (
        tensor.offset < 0
        or any(n < 1 for n in tensor.size)
        or min(tensor.stride, default=0) < 0
        or last >= len(storage)
    ):
        raise TorchStreamError(f"{name} reaches outside its storage")
    strides = tuple(step * storage.itemsize for step in tensor.stride)
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.size, strides, writeable=False)
    return np.ascontiguousarray(view).reshape(tensor.size)
