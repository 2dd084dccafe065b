"""Measured quality orders real photos against worsened copies of themselves."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from agents.images.blocks import evenness
from agents.images.decode import decode
from agents.images.quality import measure, resolution
from schemas.facts import UNMEASURED, Quality
from tests.photos import encoded, photo

PHOTOS = ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png", "motorcycle_left.png", "china.jpg", "flower.jpg")
Change = Callable[[Image.Image], Image.Image]


def quality_of(image: Image.Image) -> Quality:
    decoded = decode(encoded(image, "PNG", compress_level=1), size=224, max_pixels=10**8)
    return measure(decoded.gray, width=decoded.width, height=decoded.height, evenness=decoded.evenness)


def blurred(radius: float) -> Change:
    return lambda image: image.filter(ImageFilter.GaussianBlur(radius))


def brightness(factor: float) -> Change:
    return lambda image: ImageEnhance.Brightness(image).enhance(factor)


def noisy(sigma: float) -> Change:
    def change(image: Image.Image) -> Image.Image:
        pixels = np.asarray(image, float)
        noise = np.random.default_rng(1).normal(0, sigma, pixels.shape)
        return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))

    return change


def shaken(pixels: int) -> Change:
    def change(image: Image.Image) -> Image.Image:
        steps = [np.roll(np.asarray(image, float), step, axis=1) for step in range(pixels)]
        return Image.fromarray(np.mean(steps, axis=0).astype(np.uint8))

    return change


def halved(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


WORSENED: dict[str, Change] = {
    "slight blur": blurred(1),
    "strong blur": blurred(4),
    "darkness": brightness(0.4),
    "motion": shaken(9),
    "half the size": halved,
    "noise": noisy(20),
    "noise over blur": lambda image: noisy(20)(blurred(3)(image)),
}


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("change", WORSENED)
def test_a_worsened_copy_scores_lower(name: str, change: str) -> None:
    original = photo(name)
    assert quality_of(WORSENED[change](original)).score < quality_of(original).score


@pytest.mark.parametrize("name", PHOTOS)
def test_noise_is_not_taken_for_sharpness(name: str) -> None:
    original = photo(name)
    clean = quality_of(original).sharpness
    levels = [quality_of(noisy(sigma)(original)).sharpness for sigma in (10, 20, 35)]
    assert clean > levels[0] > levels[1] > levels[2]


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("sigma", [6, 12])
def test_a_blurred_photo_does_not_become_sharp_again_by_noise(name: str, sigma: float) -> None:
    soft = blurred(4)(photo(name))
    assert quality_of(noisy(sigma)(soft)).sharpness < quality_of(soft).sharpness * 1.1


@pytest.mark.parametrize("name", PHOTOS)
def test_over_exposure_is_not_taken_for_sharpness(name: str) -> None:
    original = photo(name)
    clean, burnt = quality_of(original), quality_of(brightness(2.5)(original))
    assert burnt.sharpness < clean.sharpness * 1.1


@pytest.mark.parametrize("name", ["chelsea.png", "astronaut.png", "china.jpg", "coffee.png", "motorcycle_left.png"])
def test_over_exposing_a_well_exposed_photo_lowers_exposure_and_score(name: str) -> None:
    original = photo(name)
    clean, burnt = quality_of(original), quality_of(brightness(2.2)(original))
    assert burnt.exposure < clean.exposure
    assert burnt.score < clean.score


def test_a_subject_in_focus_before_a_blurred_background_is_sharp() -> None:
    original = photo("astronaut.png")
    face = (150, 30, 330, 210)
    portrait = original.filter(ImageFilter.GaussianBlur(5))
    portrait.paste(original.crop(face), face)
    blurred_all = quality_of(original.filter(ImageFilter.GaussianBlur(5))).sharpness
    assert quality_of(portrait).sharpness > 1.5 * blurred_all


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_flat_picture_has_no_sharpness_and_no_contrast(value: int) -> None:
    quality = measure(np.full((512, 384), value, np.uint8), width=3000, height=4000)
    assert quality.sharpness == quality.contrast == 0.0


@pytest.mark.parametrize("shape", [(1, 1), (1, 512), (2, 512), (3, 3), (5, 512), (512, 512)])
def test_every_part_lies_between_0_and_1_for_any_shape(shape: tuple[int, int]) -> None:
    gray = np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)
    quality = measure(gray, width=shape[1], height=shape[0])
    for field in Quality.__struct_fields__:
        part = getattr(quality, field)
        assert type(part) is float
        assert 0.0 <= part <= 1.0 or (part == UNMEASURED and field in ("cleanness", "evenness"))


def test_sharpness_does_not_depend_on_the_exposure() -> None:
    gray = np.asarray(photo("coffee.png").convert("L"), float) * 0.4 + 40
    dark, light = (measure(values, width=600, height=400).sharpness for values in (gray, gray * 1.5 - 30))
    assert dark == pytest.approx(light, rel=0.05)


def test_resolution_grows_by_doublings_up_to_12_megapixels() -> None:
    assert resolution(64, 64) == 0.0
    assert resolution(4000, 3000) == pytest.approx(1.0, abs=1e-3)
    assert resolution(8000, 6000) == 1.0
    steps = [resolution(side, side) for side in (256, 512, 1024)]
    assert steps[1] - steps[0] == pytest.approx(steps[2] - steps[1])


@pytest.mark.parametrize("name", PHOTOS)
def test_each_defect_shows_in_its_own_part(name: str) -> None:
    original = photo(name)
    clean, burnt = quality_of(original), quality_of(brightness(2.5)(original))
    assert burnt.highlights < clean.highlights - 0.02
    levels = [quality_of(noisy(sigma)(original)).cleanness for sigma in (10, 20, 35)]
    assert clean.cleanness > levels[0] > levels[1] > levels[2]
    saved = [quality_of(reopened(original, quality)).evenness for quality in (95, 20, 8)]
    assert saved[0] > saved[1] > saved[2]
    assert saved[2] < 0.7


def test_blocks_show_when_a_photo_was_saved_again_and_not_when_they_were_shrunk_away() -> None:
    original = photo("astronaut.png")
    again = quality_of(reopened(reopened(original, 12), 95))
    assert again.evenness < quality_of(reopened(original, 95)).evenness - 0.15
    small = Image.new("RGB", (20, 20), (120, 90, 60))
    assert evenness(small, shrunk=1) == UNMEASURED
    assert evenness(original, shrunk=4) == 1.0
    assert evenness(Image.new("RGB", (640, 480), (120, 90, 60)), shrunk=2) == 1.0


def reopened(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, "JPEG", quality=quality)))
