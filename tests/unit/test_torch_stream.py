"""The reader takes tensors, and nothing else, from a torch stream."""

from __future__ import annotations

import io
import os
import pickle
import struct
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

from agents.embedder.torch_stream import MAGIC, PROTOCOL, TorchStreamError, read_torch_stream


class Global:
    """Pickles as a reference to a name of another module, as torch's own objects do."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> str:
        return self.name


_PythonPickler: Any = pickle._Pickler
"""The Python one: the C one has no `save` to extend."""


class StreamPickler(_PythonPickler):
    """Writes what `torch.save` writes, without torch."""

    def persistent_id(self, value: Any) -> Any:
        return (
            ("storage", Global("torch FloatStorage"), value.key, "cpu", value.count, None)
            if is_storage(value)
            else None
        )

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Global):
            module, name = value.name.split()
            self.write(b"c" + module.encode() + b"\n" + name.encode() + b"\n")
            return
        if isinstance(value, Tensor):
            self.save(Global("torch._utils _rebuild_tensor_v2"))
            self.save((value.storage, value.offset, value.size, value.stride, False, OrderedDict()))
            self.write(b"R")
            return
        super().save(value, save_persistent_id)


class Storage:
    def __init__(self, key: str, values: list[float]) -> None:
        self.key, self.values, self.count = key, values, len(values)


class Tensor:
    def __init__(self, storage: Storage, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> None:
        self.storage, self.size, self.stride, self.offset = storage, size, stride, offset


def is_storage(value: object) -> bool:
    return isinstance(value, Storage)


def stream(state: object, storages: list[Storage], *, magic: int = MAGIC) -> bytes:
    out = io.BytesIO()
    for value in (magic, PROTOCOL, {"little_endian": True}):
        pickle.dump(value, out, protocol=2)
    StreamPickler(out, protocol=2).dump(state)
    pickle.dump([storage.key for storage in storages], out, protocol=2)
    for storage in storages:
        out.write(struct.pack("<q", storage.count) + np.array(storage.values, "<f4").tobytes())
    return out.getvalue()


def read(data: bytes) -> dict[str, Any]:
    return read_torch_stream(io.BytesIO(data))


ONE, TWO = Storage("1", [0, 1, 2, 3, 4, 5]), Storage("2", [7.5])


def test_tensors_come_back_with_shape_stride_and_offset() -> None:
    state = OrderedDict(
        plain=Tensor(ONE, (2, 3), (3, 1)),
        transposed=Tensor(ONE, (3, 2), (1, 3)),
        tail=Tensor(ONE, (2,), (1,), offset=4),
        scalar=Tensor(TWO, (), ()),
    )
    tensors = read(stream(state, [ONE, TWO]))
    assert list(tensors) == ["plain", "transposed", "tail", "scalar"]
    assert tensors["plain"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensors["transposed"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert tensors["tail"].tolist() == [4, 5]
    assert tensors["scalar"] == 7.5
    assert all(tensor.flags.c_contiguous for tensor in tensors.values())


def test_a_stream_that_would_run_code_is_refused() -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, ("true",)

    values: tuple[Any, ...] = (MAGIC, PROTOCOL, {}, {"weight": Evil()}, [])
    data = b"".join(pickle.dumps(value, protocol=2) for value in values)
    with pytest.raises(TorchStreamError, match=r"asks for posix\.system"):
        read(data)


@pytest.mark.parametrize("name", ["builtins eval", "torch DoubleStorage", "collections defaultdict"])
def test_only_the_names_that_tensors_need_are_resolved(name: str) -> None:
    with pytest.raises(TorchStreamError, match="asks for " + name.replace(" ", r"\.")):
        read(stream({"weight": Global(name)}, []))


def test_anything_but_a_tensor_is_refused() -> None:
    with pytest.raises(TorchStreamError, match="epoch is a int"):
        read(stream({"epoch": 3}, []))


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(ONE, (7,), (1,)),
        Tensor(ONE, (2,), (1,), offset=5),
        Tensor(ONE, (2,), (-1,), offset=1),
        Tensor(ONE, (1,), (1,), offset=-1),
        Tensor(ONE, (0,), (1,)),
    ],
)
def test_a_tensor_cannot_reach_outside_its_storage(tensor: Tensor) -> None:
    with pytest.raises(TorchStreamError, match="outside its storage"):
        read(stream({"weight": tensor}, [ONE]))


def test_a_stream_cut_short_anywhere_is_refused() -> None:
    data = stream({"weight": Tensor(ONE, (6,), (1,))}, [ONE])
    assert read(data)["weight"].shape == (6,)
    for length in range(len(data)):
        with pytest.raises(TorchStreamError):
            read(data[:length])


def test_another_file_is_refused() -> None:
    with pytest.raises(TorchStreamError, match="magic"):
        read(stream({}, [], magic=1))
    with pytest.raises(TorchStreamError, match="not a legacy torch stream"):
        read(b"PK\x03\x04" + b"zip" * 40)
