"""The default model, built from the real weights, knows real photos and gives exact vectors."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from agents.embedder.default_model import check_weights, default_model, ensure_default_model, find_weights
from agents.embedder.efficientnet_lite import build, same_padding
from agents.embedder.embedder import Pixels
from agents.embedder.session import OnnxSession
from agents.embedder.torch_stream import TorchStreamError, read_torch_stream
from agents.images.decode import decode
from schemas.errors import StopProcess
from tests.photos import SKIMAGE, SKLEARN, encoded, photo, photo_path

# Indices of ImageNet's 1,000 classes.
TABBY, TIGER_CAT, EGYPTIAN_CAT = 281, 282, 285
KNOWN = {
    "chelsea.png": {TABBY, TIGER_CAT, EGYPTIAN_CAT},
    "coffee.png": {504, 967, 968},  # coffee mug, espresso, cup
    "rocket.jpg": {657, 744, 812},  # missile, projectile, space shuttle
    "motorcycle_left.png": {665, 670},  # moped, motor scooter
    "flower.jpg": {985},  # daisy
    "china.jpg": {442, 663, 698},  # bell cote, monastery, palace
}


def pixels_of(name: str) -> Pixels:
    return decode(photo_path(name).read_bytes(), size=224, max_pixels=10**8).pixels


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def session(cache: Path) -> OnnxSession:
    return OnnxSession(default_model(cache), device="cpu", threads=2)


@pytest.fixture(scope="module")
def classifier(cache: Path) -> onnxruntime.InferenceSession:
    build(find_weights(), cache / "classifier.onnx", with_classifier=True)
    return onnxruntime.InferenceSession(str(cache / "classifier.onnx"), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", KNOWN)
def test_known_photos_get_sensible_classes(classifier: onnxruntime.InferenceSession, name: str) -> None:
    (logits,) = classifier.run(["logits"], {"image": pixels_of(name)[None]})
    assert set(np.argsort(-logits[0])[:5].tolist()) & KNOWN[name]


def test_the_cat_is_a_cat_with_high_probability(classifier: onnxruntime.InferenceSession) -> None:
    (logits,) = classifier.run(["logits"], {"image": pixels_of("chelsea.png")[None]})
    odds = np.exp(logits[0] - logits[0].max())
    assert odds[[TABBY, TIGER_CAT, EGYPTIAN_CAT]].sum() / odds.sum() > 0.7


def test_the_weights_are_all_there() -> None:
    with find_weights().open("rb") as stream:
        tensors = read_torch_stream(stream)
    assert len(tensors) == 296
    assert sum(tensor.size for tensor in tensors.values() if tensor.dtype == np.float32) == 4_694_024


def test_an_image_has_the_same_vector_alone_and_in_a_batch(session: OnnxSession) -> None:
    names = (SKIMAGE + SKLEARN)[:8]
    batch = np.stack([pixels_of(name) for name in names] * 2)
    together = session.embed(batch)
    alone = np.concatenate([session.embed(one[None]) for one in batch])
    assert together.shape == (16, 1280)
    assert together.dtype == np.float32
    assert np.array_equal(together[:8], together[8:])
    assert np.allclose(together, alone, rtol=0, atol=1e-5)
    assert np.linalg.norm(together.astype(float), axis=1) == pytest.approx(np.ones(16), abs=1e-6)


def test_copies_are_near_and_other_photos_are_far(session: OnnxSession) -> None:
    cat, coffee = photo("chelsea.png"), pixels_of("coffee.png")
    copies = [cat, cat.crop((20, 15, 440, 290)), cat.resize((300, 200))]
    decoded = [decode(encoded(copy, "JPEG", quality=70), size=224, max_pixels=10**8).pixels for copy in copies]
    vectors = session.embed(np.stack([*decoded, coffee]))
    cosines = vectors @ vectors[0]
    assert cosines[1] > 0.8
    assert cosines[2] > 0.8
    assert cosines[3] < 0.4


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    digests = set()
    for name in ("one.onnx", "two.onnx"):
        build(find_weights(), tmp_path / name)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_the_model_is_built_once_and_leaves_nothing_else_behind(tmp_path: Path) -> None:
    first = ensure_default_model(tmp_path / "cache")
    written = first.stat().st_mtime_ns
    assert ensure_default_model(tmp_path / "cache") == first
    assert first.stat().st_mtime_ns == written
    assert list((tmp_path / "cache").iterdir()) == [first]


def test_other_weights_are_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "weights.pth"
    data = bytearray(find_weights().read_bytes())
    data[-1] ^= 1
    wrong.write_bytes(data)
    with pytest.raises(StopProcess, match="SHA-256"):
        check_weights(wrong)
    wrong.write_bytes(data[:100_000])
    with pytest.raises(TorchStreamError, match="cut short"):
        build(wrong, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_a_folder_that_cannot_be_written_is_a_refused_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StopProcess, match="MODEL_PATH: not set, and the default model cannot be written"):
        ensure_default_model(tmp_path / "file")


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [(224, 3, 2, (0, 1)), (112, 3, 1, (1, 1)), (56, 5, 2, (1, 2)), (7, 1, 1, (0, 0))],
)
def test_padding_is_tensorflow_s(size: int, kernel: int, stride: int, padding: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride) == padding


def test_a_grey_picture_has_a_vector(session: OnnxSession) -> None:
    grey = np.asarray(Image.new("RGB", (224, 224), (127, 127, 127)))
    assert np.isfinite(session.embed(grey[None])).all()
