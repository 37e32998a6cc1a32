"""Which faces of which photos follow which persons of a driver, and the folders of the results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from facsimile.data.video_writer import CODECS

from ..inputs import path_keys, unique_name
from .drivers import Driver, VideoDriver

ALL = "all"


@dataclass(frozen=True)
class Pair:
    """One result."""

    photo: Path
    name: str
    """Of the folder."""
    face: str
    """Of the photo, see `data.face_choice`."""
    driver: Driver


def list_pairs(
    photos: Sequence[Path],
    out: Path,
    source_face: str,
    driver: Driver,
    driver_face: str,
    count_faces: Callable[[Path], int],
) -> list[Pair]:
    """Every photo with the driver; with "all" each of its faces, and each person of the driver.

    The folders are NAME, NAME-face2, ..; and with every person of the driver NAME-driver1, ..
    count_faces: of a photo, at least 1; asked for "all" alone.
    """
    people = {"": driver}
    if driver_face == ALL and isinstance(driver, VideoDriver):
        numbers = range(1, driver.count_people() + 1)
        people = {f"-driver{number}": driver.following(str(number)) for number in numbers}
    pairs = []
    for photo, name in zip(photos, _folder_names(photos, out), strict=True):
        faces = {"": source_face}
        if source_face == ALL:
            numbers = range(1, count_faces(photo) + 1)
            faces = {f"-face{number}" * (number > 1): str(number) for number in numbers}
        pairs += [
            Pair(photo, name + of_face + of_person, face, person)
            for of_face, face in faces.items()
            for of_person, person in people.items()
        ]
    return pairs


def _folder_names(photos: Sequence[Path], out: Path) -> list[str]:
    """A folder name for the results of each photo, none that ends like a video."""
    stems = [photo.stem for photo in photos]
    taken = path_keys(out / stem for stem in stems if Path(stem).suffix.lower() in CODECS)
    return [unique_name(stem, out, taken, suffix="") for stem in stems]
