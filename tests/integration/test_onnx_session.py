"""Any ONNX model with an image input and a vector output can be configured; a misfit is a refused start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from agents.embedder.model import ModelSpec
from agents.embedder.session import OnnxSession
from schemas.errors import StopProcess

REPOSITORY = Path(__file__).parents[2]
SIDE = 8
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)


def write_model(
    path: Path,
    *,
    shape: list[int | str],
    kind: int = TensorProto.FLOAT,
    axes: list[int],
    extra_input: bool = False,
) -> Path:
    """A model whose vector is the mean of each channel, so that a test can tell what it was fed."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["vector"], axes=axes, keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("pixels", kind, shape)]
    if extra_input:
        inputs.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n"]))
    output = helper.make_tensor_value_info("vector", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "channel-means", inputs, [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def spec(path: Path, **changes: Any) -> ModelSpec:
    values: dict[str, Any] = {"name": "means", "version": "3", "path": path, "dimension": 3, "input_size": SIDE}
    return ModelSpec(**(values | changes))


def batch_of(*colours: tuple[int, int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.stack([np.full((SIDE, SIDE, 3), colour, np.uint8) for colour in colours])


def unit(*values: float) -> Any:
    return pytest.approx(np.array(values) / np.linalg.norm(values), abs=1e-6)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        (["n", 3, SIDE, SIDE], [2, 3]),
        (["n", SIDE, SIDE, 3], [1, 2]),
        (["n", "c", "h", "w"], [2, 3]),
        ([1, 3, SIDE, SIDE], [2, 3]),
        ([4, 3, SIDE, SIDE], [2, 3]),
    ],
)
def test_a_float_model_gets_normalised_pixels_in_its_order_and_batch(
    tmp_path: Path, shape: list[int | str], axes: list[int]
) -> None:
    session = OnnxSession(spec(write_model(tmp_path / "m.onnx", shape=shape, axes=axes), mean=MEAN, std=STD))
    vectors = session.embed(batch_of((255, 0, 51), (0, 255, 255), (255, 255, 0), (10, 20, 30), (1, 2, 3)))
    assert vectors.shape == (5, 3)
    assert vectors[0] == unit(0.6 / 0.2, -0.5 / 0.25, -0.4 / 0.5)
    assert vectors[1] == unit(-0.4 / 0.2, 0.5 / 0.25, 0.4 / 0.5)
    assert session.model_id == "means@3"


@pytest.mark.parametrize(("shape", "axes"), [(["n", SIDE, SIDE, 3], [1, 2]), (["n", 3, SIDE, SIDE], [2, 3])])
def test_a_uint8_model_gets_the_pixels_themselves(tmp_path: Path, shape: list[int | str], axes: list[int]) -> None:
    path = write_model(tmp_path / "m.onnx", shape=shape, axes=axes, kind=TensorProto.UINT8)
    assert OnnxSession(spec(path)).embed(batch_of((200, 100, 50)))[0] == unit(200, 100, 50)


def test_a_zero_vector_is_nan_and_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", shape=["n", SIDE, SIDE, 3], axes=[1, 2], kind=TensorProto.UINT8)
    vectors = OnnxSession(spec(path)).embed(batch_of((9, 9, 9), (0, 0, 0), (1, 2, 2)))
    assert np.isnan(vectors[1]).all()
    assert vectors[2] == unit(1, 2, 2)


def test_the_device_is_the_one_that_runs(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", shape=["n", SIDE, SIDE, 3], axes=[1, 2], kind=TensorProto.UINT8)
    assert OnnxSession(spec(path), device="cpu").device == "cpu"
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        assert OnnxSession(spec(path), device="cuda").device == "cuda"
    else:
        assert OnnxSession(spec(path), device="auto").device == "cpu"
        with pytest.raises(StopProcess, match="EMBEDDING_DEVICE: is cuda"):
            OnnxSession(spec(path), device="cuda")


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ({}, {"dimension": 5}, "MODEL_DIMENSION: is 5, the model gives vectors of 3"),
        ({}, {"input_size": 16}, "MODEL_INPUT_SIZE: is 16"),
        ({}, {"mean": MEAN, "std": STD}, "MODEL_MEAN: must be unset"),
        ({"kind": TensorProto.FLOAT}, {}, "MODEL_MEAN: needed"),
        ({"kind": TensorProto.INT64}, {}, "MODEL_PATH: the model takes tensor"),
        ({"extra_input": True}, {}, "MODEL_PATH: the model has 2 inputs"),
    ],
)
def test_a_model_that_does_not_fit_is_a_refused_start(
    tmp_path: Path, model: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    described: dict[str, Any] = {"shape": ["n", SIDE, SIDE, 3], "axes": [1, 2], "kind": TensorProto.UINT8} | model
    path = write_model(tmp_path / "m.onnx", **described)
    with pytest.raises(StopProcess, match=message):
        OnnxSession(spec(path, **changes))


def test_a_file_that_is_missing_or_no_model_is_a_refused_start(tmp_path: Path) -> None:
    with pytest.raises(StopProcess, match="MODEL_PATH: there is no file"):
        OnnxSession(spec(tmp_path / "missing.onnx"))
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(StopProcess, match="MODEL_PATH: onnxruntime cannot load"):
        OnnxSession(spec(tmp_path / "text.onnx"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "EMBEDDING_MODEL_NAME"),
        ({"name": "a@b"}, "EMBEDDING_MODEL_NAME"),
        ({"version": ""}, "EMBEDDING_MODEL_VERSION"),
        ({"dimension": 0}, "MODEL_DIMENSION"),
        ({"input_size": 0}, "MODEL_INPUT_SIZE"),
        ({"mean": MEAN}, "MODEL_STD: both"),
        ({"std": STD}, "MODEL_MEAN: both"),
        ({"mean": MEAN, "std": (1, 0, 1)}, "MODEL_STD: must be positive"),
    ],
)
def test_settings_that_contradict_each_other_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StopProcess, match=message):
        spec(Path("any.onnx"), **changes)


def test_the_runtime_keeps_no_telemetry(tmp_path: Path) -> None:
    """It writes a device id and events into the user's cache folder, and sends them, unless it is told not to."""
    path = write_model(tmp_path / "m.onnx", shape=["n", 3, SIDE, SIDE], axes=[2, 3])
    code = (
        "import sys; from pathlib import Path; from agents.embedder.model import ModelSpec;"
        "from agents.embedder.session import OnnxSession;"
        "size = dict(dimension=3, input_size=8, mean=(0,) * 3, std=(1,) * 3);"
        "spec = ModelSpec(name='m', version='1', path=Path(sys.argv[1]), **size);"
        "print(OnnxSession(spec).device)"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    subprocess.run([sys.executable, "-c", code, str(path)], env=environment, cwd=REPOSITORY, check=True)
    assert list(home.rglob("*")) == []
