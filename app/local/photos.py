"""Albums for the demo: real photographs shown as bursts, or a folder of the user's own. Called by app/local/demo.py.

The photographs come with the wheels of scikit-image and scikit-learn. A burst is one of them several times: another
crop, light, sharpness and JPEG quality each time, as a phone takes them. Singletons belong to no burst.
"""

from __future__ import annotations

import importlib.util
import random
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from PIL import Image, ImageEnhance, ImageFilter

from app.local.storage import SUFFIXES
from schemas.ids import ID_MAX_LENGTH

_SKIMAGE: Final = ("skimage", "data")
_SKLEARN: Final = ("sklearn", "datasets/images")
_PACKAGES: Final = {"china.jpg": _SKLEARN, "flower.jpg": _SKLEARN}
_FIRST_DAY: Final = datetime(2026, 5, 1, 9, 0, 0)
_EXIF_DATE_TIME: Final = 0x0132
_EXIF_IFD: Final = 0x8769
_EXIF_DATE_TIME_ORIGINAL: Final = 0x9003


@dataclass(frozen=True)
class Scene:
    """A pet's photographs: shots per burst, and the ones that belong nowhere."""

    bursts: Mapping[str, int]
    singletons: tuple[str, ...]


SCENES: Final[Mapping[str, Scene]] = {
    "biscuit": Scene({"chelsea.png": 6, "coffee.png": 4, "flower.jpg": 4}, ("coins.png", "grass.png")),
    "comet": Scene({"astronaut.png": 5, "rocket.jpg": 4, "moon.png": 3}, ("hubble_deep_field.jpg", "page.png")),
    "mochi": Scene({"motorcycle_left.png": 5, "china.jpg": 5}, ("brick.png", "ihc.png", "text.png")),
    "pepper": Scene({"camera.png": 4, "retina.jpg": 4, "horse.png": 3}, ("gravel.png", "cell.png")),
}


@dataclass(frozen=True)
class Photo:
    """A file with its image id. `burst`: the photograph it shows; None for one that belongs nowhere or is unknown."""

    image_id: str
    path: Path
    burst: str | None


@dataclass(frozen=True)
class Album:
    """A pet's photos in the order in which they arrive. `labelled`: whether their bursts are known."""

    pet_id: str
    photos: tuple[Photo, ...]
    labelled: bool


def bundled_albums(folder: Path, *, seed: int = 1) -> list[Album]:
    """Write the bundled photographs' bursts into `folder` as ``{image_id}.jpg``; the same seed gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_album(pet_id, scene, folder, random.Random(f"{seed}/{pet_id}")) for pet_id, scene in SCENES.items()]


def albums_from_folder(source: Path, folder: Path) -> list[Album]:
    """Copy the images of `source`, one sub-folder a pet, into `folder` under valid image ids.

    Raises ValueError when there is no image in any sub-folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not source.is_dir():
        raise ValueError(f"{source} is no folder")
    pets, images, albums = _Names(), _Names(), []
    for pet_folder in sorted(path for path in source.iterdir() if path.is_dir()):
        files = sorted(path for path in pet_folder.rglob("*") if path.is_file() and path.suffix.lower() in SUFFIXES)
        if not files:
            continue
        pet_id = pets.take(pet_folder.name, ID_MAX_LENGTH // 2)
        photos = []
        for file in files:
            image_id = images.take(f"{pet_id}-{file.relative_to(pet_folder).with_suffix('')}", ID_MAX_LENGTH)
            target = folder / f"{image_id}{file.suffix.lower()}"
            shutil.copyfile(file, target)
            photos.append(Photo(image_id, target, None))
        albums.append(Album(pet_id, tuple(photos), labelled=False))
    if not albums:
        raise ValueError(f"{source} has no sub-folder with images ({', '.join(SUFFIXES)})")
    return albums


class _Names:
    """Turns names of files into valid ids, none twice."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str, length: int) -> str:
        base = re.sub(r"[^A-Za-z0-9_.\-]+", "-", name).strip("-")[: length - 6] or "unnamed"
        found, number = base, 1
        while found.lower() in self._taken:  # some file systems know no case
            number += 1
            found = f"{base}-{number}"
        self._taken.add(found.lower())
        return found


def _album(pet_id: str, scene: Scene, folder: Path, rng: random.Random) -> Album:
    taken_at = _FIRST_DAY
    shots: list[tuple[Image.Image, datetime, str | None]] = []
    for source, count in [*scene.bursts.items(), *((name, 1) for name in scene.singletons)]:
        photograph = _open(source)
        burst = source if source in scene.bursts else None
        taken_at += timedelta(hours=rng.randint(5, 60))
        for _ in range(count):
            taken_at += timedelta(seconds=rng.randint(1, 4))
            shots.append((_shot(photograph, rng), taken_at, burst))
    rng.shuffle(shots)
    photos = []
    for number, (image, moment, burst) in enumerate(shots):
        image_id = f"{pet_id}-{number:03}"
        path = folder / f"{image_id}.jpg"
        image.save(path, "JPEG", quality=rng.choice((55, 70, 80, 90, 95)), exif=_exif(moment))
        photos.append(Photo(image_id, path, burst))
    return Album(pet_id, tuple(photos), labelled=True)


def _open(name: str) -> Image.Image:
    package, inside = _PACKAGES.get(name, _SKIMAGE)
    spec = importlib.util.find_spec(package)  # found without importing it, which would take a second
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{name}: the package {package} is not installed")
    with Image.open(Path(spec.submodule_search_locations[0]) / inside / name) as image:
        if image.mode in ("RGBA", "LA"):
            paper = Image.new("RGBA", image.size, "white")
            return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")
        return image.convert("RGB")


def _shot(photograph: Image.Image, rng: random.Random) -> Image.Image:
    """The photograph as one of a burst: cropped by at most a fifth, other light, sometimes out of focus."""
    scale = rng.uniform(0.82, 1.0)
    width, height = int(photograph.width * scale), int(photograph.height * scale)
    left, top = rng.randint(0, photograph.width - width), rng.randint(0, photograph.height - height)
    image = photograph.crop((left, top, left + width, top + height))
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.78, 1.22))
    image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.88, 1.12))
    image = ImageEnhance.Color(image).enhance(rng.uniform(0.85, 1.15))
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.6, 1.6)))
    return image


def _exif(moment: datetime) -> Image.Exif:
    text = moment.strftime("%Y:%m:%d %H:%M:%S")
    exif = Image.Exif()
    exif[_EXIF_DATE_TIME] = text
    exif.get_ifd(_EXIF_IFD)[_EXIF_DATE_TIME_ORIGINAL] = text
    return exif
