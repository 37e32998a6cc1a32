"""Label maps of the regions of a face, made of a face mesh and a mask of the person.

Legend: M photos, S side in pixels.

The face's parts are polygons of MediaPipe's mesh. Nobody draws hair: it is what of the person is
not face, neck or clothes. Which of the rest that is, colours decide: those above the forehead
against those of the face and, below the chin, those of the clothes. Where they do not, the pixel is
`UNKNOWN`, and nothing is learnt from it.
"""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from facsimile.data.dataset import ImageDataset
from facsimile.data.progress import ProgressBar
from facsimile.data.region_network import CLASSES

UNKNOWN = 255
"""Label of pixels from which nothing is learnt."""
MESH_POINTS = 478
OVERSAMPLING = 4
"""Polygons are drawn on a raster so much finer."""

# Indices of MediaPipe's mesh; "left" is the person's, which is right in the picture.
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_BROW = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
RIGHT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
OUTER_LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
)
INNER_LIPS = (
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)
NOSE = (
    *(168, 193, 188, 174, 198, 209, 129, 64, 98, 97, 2, 326, 327, 294, 358, 429, 420, 399, 412),
    417,
)
POLYGONS = (
    ("skin", FACE_OVAL),
    ("nose", NOSE),
    ("brows", LEFT_BROW),
    ("brows", RIGHT_BROW),
    ("eyes", LEFT_EYE),
    ("eyes", RIGHT_EYE),
    ("lips", OUTER_LIPS),
    ("teeth", INNER_LIPS),
)
"""Drawn in this order, over one another."""
CHIN, FOREHEAD, RIGHT_EDGE, LEFT_EDGE = 152, 10, 234, 454
FOREHEAD_FROM = 0.78
"""Height, as a share of that of the face, from which it may be covered by hair."""
MIN_SEED = 12
"""Pixels of which a colour model is made, at least."""


def match_labels(
    images: ImageDataset,
    meshes: Sequence[Path],
    people: Sequence[Path],
    cache: Path,
    *,
    quiet: bool = False,
) -> tuple[ImageDataset, Tensor]:
    """The images that have a mesh and a mask of the person, and their label maps (M, S, S) uint8.

    cache: .npz file in which the maps of the same images are kept, as they take 10 ms each.
    Raises FileNotFoundError, or ValueError if a file is damaged or no image has both.
    """
    mesh, person = _read_meshes(meshes), _list_people(people)
    stems = [Path(name).stem for name in images.names]
    chosen = [i for i, stem in enumerate(stems) if stem in mesh and stem in person]
    if not chosen:
        raise ValueError(
            f"none of {len(images)} photos, such as {images.names[0]}, has a mesh in "
            f"{', '.join(map(str, meshes))} and a mask in {', '.join(map(str, people))}; give "
            "those that were made of these photos"
        )
    subset = images.subset(torch.tensor(chosen))
    stems = [stems[index] for index in chosen]
    if cache.is_file():
        with np.load(cache) as file:
            if file["names"].tolist() == stems and file["labels"].shape[1] == images.resolution:
                return subset, torch.from_numpy(file["labels"])
    labels: np.ndarray = np.empty((len(stems), *(images.resolution,) * 2), np.uint8)
    archives = {path: zipfile.ZipFile(path) for path in people}
    for index, stem in enumerate(ProgressBar(stems, desc="labels", unit="img", disable=quiet)):
        archive, entry = person[stem]
        with Image.open(io.BytesIO(archives[archive].read(entry))) as mask:
            size = images.resolution
            mask = np.asarray(mask.convert("L").resize((size, size), Image.Resampling.NEAREST))
        pixels = subset[index].permute(1, 2, 0).numpy()
        scale = images.resolution / float(subset.sizes[index, 0])
        labels[index] = label_map(pixels, scale * mesh[stem], mask > 127)
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(cache, names=np.array(stems), labels=labels)
    return subset, torch.from_numpy(labels)


def _read_meshes(paths: Sequence[Path]) -> dict[str, np.ndarray]:
    """Name of a photo without its ending -> (478, 2), of photos in which a face was found."""
    meshes: dict[str, np.ndarray] = {}
    expected = f"expected an .npz with `names` (M,) and `landmarks` (M, {MESH_POINTS}, 2)"
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; {expected}, check the spelling")
        try:
            with np.load(path, allow_pickle=False) as file:
                names, points = file["names"], file["landmarks"].astype(np.float32)
        except (KeyError, ValueError, TypeError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: got {str(error).splitlines()[0]}, {expected}") from error
        if points.shape != (len(names), MESH_POINTS, 2):
            raise ValueError(f"{path}: got landmarks of shape {points.shape}, {expected}")
        finite = np.isfinite(points).all((1, 2))
        meshes |= {Path(str(names[i])).stem: points[i] for i in finite.nonzero()[0]}
    return meshes


def _list_people(paths: Sequence[Path]) -> dict[str, tuple[Path, str]]:
    """Name of a photo without its ending -> the zip that has the mask, and the name in it."""
    people: dict[str, tuple[Path, str]] = {}
    for path in paths:
        try:
            with zipfile.ZipFile(path) as archive:
                people |= {Path(name).stem: (path, name) for name in archive.namelist()}
        except zipfile.BadZipFile as error:
            raise ValueError(
                f"{path} is no zip, or is damaged ({error}); give a zip of masks of the person"
            ) from error
    return people


def label_map(image: np.ndarray, mesh: np.ndarray, person: np.ndarray) -> np.ndarray:
    """image: (S, S, 3) uint8. mesh: (478, 2), x and y in pixels. person: (S, S) bool.

    Returns (S, S) uint8: indices of `CLASSES`, or `UNKNOWN`.
    """
    side = len(person)
    face = draw_polygons(mesh, side)
    across, up = _face_coordinates(mesh, side)
    odds = _hair_odds(image, face > 0, person, across, up)
    labels = np.where(person, CLASSES.index("body"), CLASSES.index("background")).astype(np.uint8)
    skin = CLASSES.index("skin")
    labels[face > 0] = face[face > 0]
    # The mesh ends below the hairline of many: what is not hair there is the forehead.
    labels[person & (face == 0) & (up > FOREHEAD_FROM)] = skin
    # Within the outline, only the forehead may be covered by hair.
    may_be_hair = (person & (face == 0)) | ((face == skin) & (up > FOREHEAD_FROM))
    labels[may_be_hair & (odds > 1)] = CLASSES.index("hair")
    labels[may_be_hair & (np.abs(odds) <= 1)] = UNKNOWN
    return labels


def draw_polygons(mesh: np.ndarray, side: int) -> np.ndarray:
    """(S, S) uint8: indices of `CLASSES` within the face, 0 elsewhere."""
    canvas = Image.new("L", (OVERSAMPLING * side,) * 2)
    draw = ImageDraw.Draw(canvas)
    for name, indices in POLYGONS:
        corners = (OVERSAMPLING * mesh[list(indices)]).tolist()
        draw.polygon([(x, y) for x, y in corners], fill=CLASSES.index(name))
    middle = OVERSAMPLING // 2
    return np.asarray(canvas)[middle::OVERSAMPLING, middle::OVERSAMPLING]


def _face_coordinates(mesh: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(S, S) each: across, in half widths of the face from its middle line; and up, in heights of
    the face from the chin (0) to the upper end of the forehead (1)."""
    chin, axis = mesh[CHIN], mesh[FOREHEAD] - mesh[CHIN]
    height = np.linalg.norm(axis)
    upward = axis / height
    half_width = max(np.linalg.norm(mesh[RIGHT_EDGE] - mesh[LEFT_EDGE]) / 2, 0.3 * height)
    middle = (mesh[RIGHT_EDGE] + mesh[LEFT_EDGE]) / 2
    y, x = np.mgrid[:side, :side] + 0.5
    up = ((x - chin[0]) * upward[0] + (y - chin[1]) * upward[1]) / height
    across = ((x - middle[0]) * -upward[1] + (y - middle[1]) * upward[0]) / half_width
    return across, up


def _hair_odds(
    image: np.ndarray, inside: np.ndarray, person: np.ndarray, across: np.ndarray, up: np.ndarray
) -> np.ndarray:
    """(S, S): log odds of hair against skin and clothes, where the pixel is of the person."""
    rest, width = person & ~inside, np.abs(across)
    crown = rest & (up > 1.12)
    if crown.sum() < MIN_SEED:
        crown = rest & (up > 1.0)
    face = inside & (up > 0.1) & (up < 0.7) & (width < 0.75)
    if crown.sum() < MIN_SEED or face.sum() < MIN_SEED:
        return np.where(up > 0, 0.0, -9.0)
    colours = _opponent_colours(image)
    hair, other = _log_density(colours, crown), _log_density(colours, face)
    clothes = rest & (up < -0.3)
    if clothes.sum() >= MIN_SEED:
        other = np.where(up < 0, np.maximum(other, _log_density(colours, clothes)), other)
    # The prior: nearly sure far above the forehead, open at the sides, unlikely below the chin and
    # before the neck; within the outline of the face, hair must be of another colour than skin.
    prior = np.interp(up, [-0.7, -0.25, 0.0, 0.3, 0.75, 1.05, 1.25], [-9, -3, -1, 0, 1, 1, 5])
    prior -= np.where(up < 0.05, 4 * np.clip(1.1 - width, 0, 1), 0)
    return hair - other + np.where(inside, -2, prior)


def _opponent_colours(image: np.ndarray) -> np.ndarray:
    """(S, S, 3): brightness, red against green, yellow against blue; smoothed over 3x3 pixels."""
    x = image.astype(np.float32) / 255
    x = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
    size = len(image)
    x = sum(x[i : i + size, j : j + size] for i in range(3) for j in range(3)) / 9
    red, green, blue = x[..., 0], x[..., 1], x[..., 2]
    return np.stack([x.mean(-1), red - green, (red + green) / 2 - blue], -1)


def _log_density(colours: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """(S, S): logarithm of a normal density fitted to the colours of the seed, at least -12."""
    values = colours[seed]
    covariance = np.cov(values.T) + np.diag([0.05, 0.02, 0.02]) ** 2
    difference = colours - values.mean(0)
    distance = np.einsum("xyi,ij,xyj->xy", difference, np.linalg.inv(covariance), difference)
    density = -0.5 * distance - 0.5 * np.linalg.slogdet(covariance)[1]
    return np.maximum(density, density.max() - 12)
