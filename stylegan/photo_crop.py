"""Where in which photo an image was cropped: what pasting it back needs."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PhotoCrop:
    """The crop of one image."""

    photo: str
    """Path of the photo; "" for a picture that came from no file."""
    digest: str
    """Of the photo's bytes; "" for a picture that came from no file."""
    size: tuple[int, int]
    """Width and height of the upright photo, in pixels."""
    quad: tuple[tuple[float, float], ...]
    """Corners (x, y) of the crop in the upright photo, in pixels from its outer corner: top left,
    bottom left, bottom right, top right."""
    aspect: str = ""
    """Width to height, such as "4:3", of the part of the crop that shows the photo; the rest is
    padding. "": all of it does."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {name: x for name, x in asdict(self).items() if name != "aspect" or x}

    @staticmethod
    def from_dict(plain: dict[str, Any]) -> "PhotoCrop":
        """The inverse of `to_dict`; KeyError, TypeError or ValueError for something else."""
        width, height = (int(x) for x in plain["size"])
        corners = tuple((float(x), float(y)) for x, y in plain["quad"])
        if len(corners) != 4:
            raise ValueError(f"got a crop of {len(corners)} corners, expected 4")
        texts = {name: str(plain[name]) for name in ("photo", "digest")}
        texts["aspect"] = str(plain.get("aspect", ""))
        return PhotoCrop(**texts, size=(width, height), quad=corners)
