"""What `Studio.reenact` does before the first frame: the source, the driver, the networks.

Legend: C channels, R side of the generator's images, K = 68 points.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from facsimile import checkpoints, data
from facsimile.checkpoints import Encoder
from facsimile.editing.reenact import SMOOTHING
from facsimile.stylegan import Latents
from facsimile.stylegan.generator import fingerprint

from .drivers import open_driver
from .reenactment import Driver, Reenactment, Source
from .scripted import Handmade, is_motion, read_motion

if TYPE_CHECKING:
    from .studio import Studio

RECIPE = "in-domain"
"""Of the source's refinement: W+ held to its encoder, where the difference encoder learned."""


def reenactment(
    studio: "Studio",
    source: str | Path | Image.Image,
    driver: str | Path | Driver,
    *,
    relative: bool | None = None,
    smoothing: float = SMOOTHING,
    refine: int = 0,
    frames: int | None = None,
    landmarks: str | data.Landmarker = "auto",
    align: bool = True,
    keep_own: bool = True,
    fps: float | None = None,
    batch: int = 8,
) -> Reenactment:
    """See `Studio.reenact`."""
    if batch < 1:
        raise ValueError(f"got a batch of {batch}; it must be at least 1")
    if refine < 0:
        raise ValueError(f"got {refine} steps of refinement; expected 0 or more")
    generator = studio.generator
    encoder = _encoder(studio)
    if isinstance(landmarks, str):
        landmarks = data.landmarker(landmarks, small=checkpoints.LANDMARKS, device=studio.device)
    follow = driver
    if isinstance(driver, str | Path):
        follow = find_driver(studio, driver, landmarks, align, fps)
    made = isinstance(follow, Handmade)
    if frames is not None:
        if not follow.single:
            raise ValueError(
                f"got {frames} frames to morph in, and {follow.path} has {follow.count} poses; "
                "a morph goes to a single one: a photo"
            )
        if frames < 2:
            raise ValueError(f"got {frames} frames to morph in; expected at least 2")
    if relative is None:
        relative = not (follow.single or made)
    elif relative and follow.single:
        raise ValueError(
            f"{follow.path} is a single pose, and relative driving needs one to compare it with; "
            "take absolute driving, or a driver of several frames"
        )
    face = _source(studio, source, encoder.kind, landmarks, align, refine)
    return Reenactment(
        generator=generator,
        encoder=encoder.network,
        source=face,
        driver=replace(follow, own=face.own) if made else follow,
        relative=relative,
        # What is hand-made has no jitter.
        smoothing=0 if made else smoothing,
        landmarker=landmarks,
        keep_own=keep_own and encoder.kind == "difference",
        batch=batch,
        frames=frames,
        settings={
            "generator": studio.name,
            "fingerprint": generator.fingerprint,
            "encoder": {"kind": encoder.kind, "weights": encoder.fingerprint},
            "landmarks": {"name": landmarks.name, "weights": _weights(landmarks)},
            "align": align,
        },
    )


def find_driver(
    studio: "Studio",
    driver: str | Path,
    landmarks: data.Landmarker,
    align: bool = True,
    fps: float | None = None,
    but: str | Path | None = None,
) -> Driver:
    """What `driver` says, for any number of sources; but: see `data.find_photos`."""
    if is_motion(driver):
        return read_motion(str(driver), fps)
    detector = studio.detector() if align else None
    side = studio.generator.resolution
    return open_driver(driver, landmarks, detector, side, studio.device, fps, but)


def _weights(landmarks: data.Landmarker) -> str:
    """Fingerprint of the network; of a user's own landmarker, which may have none, nothing."""
    network = getattr(landmarks, "network", None)
    return "" if network is None else fingerprint(network.state_dict())


def _encoder(studio: "Studio") -> Encoder:
    kinds = ("difference", "naive")
    return studio.encoders.get(next((x for x in kinds if studio.encoders.has(x)), "difference"))


def _source(
    studio: "Studio",
    source: str | Path | Image.Image,
    kind: str,
    landmarker: data.Landmarker,
    align: bool,
    refine: int,
) -> Source:
    generator = studio.generator
    path = None if isinstance(source, Image.Image) else Path(source)
    if path is not None and path.suffix == ".safetensors":
        face = Latents.load(path, generator).to(studio.device, generator.dtype)
        if len(face) != 1:
            raise ValueError(f"{path}: got latents of {len(face)} images, expected those of one")
        with torch.no_grad():
            target = face.draw(generator).clamp(-1, 1).cpu()
        own = _own(landmarker, target.to(studio.device), path)
        return Source(path.stem, target[0], own, lambda: target if kind == "naive" else face, {})
    target = studio.targets(source, align=align)
    own = _own(landmarker, target.to(studio.device), path or "the source")
    name = "image" if path is None else path.stem
    if kind == "naive":
        return Source(name, target[0], own, lambda: target, {})
    recipe = studio.recipe(RECIPE, refine)

    def find() -> Latents:
        return studio.invert(target, recipe=recipe, start="encoder").latents

    return Source(name, target[0], own, find, studio.settings(recipe, 0, "encoder"))


@torch.no_grad()
def _own(landmarker: data.Landmarker, image: Tensor, name: str | Path) -> Tensor:
    """Landmarks (K, 2) of an image (1, C, R, R), on the CPU."""
    seen = landmarker(image[:, :3] if image.shape[1] > 3 else image)
    points = seen.points[0].float().cpu()
    if not (seen.found[0] and points.isfinite().all()):
        raise data.PhotoError(
            f"{name}: got a source in which the landmark network sees no upright face (score "
            f"{float(seen.score[0]):.2f} of 1), expected one seen from the front; use another "
            "photo, or align it by leaving --no-align out"
        )
    return points
