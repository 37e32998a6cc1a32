"""What happens before the first frame: the encoder, the driver and the source are prepared.

Legend: C channels, R resolution of the generator, K = 68 points.
"""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from facsimile import data
from facsimile.checkpoints import EncoderSet, LoadedEncoder
from facsimile.encoders import KINDS
from facsimile.inversion import Inverter
from facsimile.stylegan import Generator, Latents
from facsimile.stylegan.generator import fingerprint
from facsimile.targets import TargetReader

from .drivers import Driver, open_driver
from .scripted import ScriptedDriver, is_motion, read_motion
from .stream import Source
from .video import Reenactment


def pick_encoder(encoders: EncoderSet) -> LoadedEncoder:
    """The first encoder that takes landmarks, codes in W+ before images; ValueError for none."""
    kinds = [kind for kind in KINDS.values() if kind.predicts == "w+ given landmarks"]
    kinds.sort(key=lambda kind: kind.source != "w+")
    return encoders.get(next((x.name for x in kinds if encoders.has(x.name)), kinds[0].name))


def is_latents_file(source: str | Path | Image.Image) -> bool:
    return not isinstance(source, Image.Image) and Path(source).suffix == ".safetensors"


def needs_inversion(encoder: LoadedEncoder, source: str | Path | Image.Image) -> bool:
    """Whether the encoder takes codes, and the source is a photo."""
    return KINDS[encoder.kind].source == "w+" and not is_latents_file(source)


def find_driver(
    driver: str | Path,
    landmarker: data.Landmarker,
    detector: data.FaceDetector | None,
    resolution: int,
    device: torch.device,
    fps: float | None = None,
    exclude: str | Path | None = None,
) -> Driver:
    """A script as "yaw:20", or what lies at a path; see `open_driver`."""
    if is_motion(driver):
        return read_motion(str(driver), fps)
    return open_driver(driver, landmarker, detector, resolution, device, fps, exclude)


def prepare_reenactment(
    generator: Generator,
    name: str,
    encoder: LoadedEncoder,
    landmarker: data.Landmarker,
    source: str | Path | Image.Image,
    driver: Driver,
    *,
    reader: TargetReader,
    inverter: Inverter | None,
    align: bool,
    relative: bool | None,
    smoothing: float,
    frames: int | None,
    preserve_source: bool,
    batch: int,
) -> Reenactment:
    """Check what was asked for and find the source's face; see `Studio.reenact`.

    name: of the generator. reader: reads the source's photo. inverter: finds the latents of the
    source; None if it needs no inversion, see `needs_inversion`.
    """
    if batch < 1:
        raise ValueError(f"got a batch of {batch}; it must be at least 1")
    _check_frames(driver, frames)
    scripted = isinstance(driver, ScriptedDriver)
    if relative is None:
        relative = not (driver.single or scripted)
    elif relative and driver.single:
        raise ValueError(
            f"{driver.path} is a single pose, and relative driving needs one to compare it with; "
            "take absolute driving, or a driver of several frames"
        )
    takes_codes = KINDS[encoder.kind].source == "w+"
    face = _find_source(generator, source, takes_codes, landmarker, reader, inverter, align)
    return Reenactment(
        generator=generator,
        encoder=encoder.network,
        source=face,
        driver=driver.for_source(face.landmarks),
        relative=relative,
        # A script has no jitter.
        smoothing=0 if scripted else smoothing,
        landmarker=landmarker,
        preserve_source=preserve_source and takes_codes,
        batch=batch,
        frames=frames,
        settings={
            "generator": name,
            "fingerprint": generator.fingerprint,
            "encoder": {"kind": encoder.kind, "fingerprint": encoder.fingerprint},
            "landmark_network": {
                "name": landmarker.name,
                "fingerprint": _network_fingerprint(landmarker),
            },
            "align": align,
        },
    )


def _check_frames(driver: Driver, frames: int | None) -> None:
    if frames is None:
        return
    if not driver.single:
        raise ValueError(
            f"got {frames} frames to morph in, and {driver.path} has {driver.count} poses; "
            "a morph goes to a single one: a photo"
        )
    if frames < 2:
        raise ValueError(f"got {frames} frames to morph in; expected at least 2")


def _network_fingerprint(landmarker: data.Landmarker) -> str:
    """Of the landmark network's weights; "" for a user's landmarker without a network."""
    network = getattr(landmarker, "network", None)
    return "" if network is None else fingerprint(network.state_dict())


def _find_source(
    generator: Generator,
    source: str | Path | Image.Image,
    takes_codes: bool,
    landmarker: data.Landmarker,
    reader: TargetReader,
    inverter: Inverter | None,
    align: bool,
) -> Source:
    path = None if isinstance(source, Image.Image) else Path(source)
    latents = None
    if path is not None and is_latents_file(path):
        latents = Latents.load(path, generator).to(generator.device, generator.dtype)
        if len(latents) != 1:
            raise ValueError(f"{path}: got latents of {len(latents)} images, expected those of one")
        with torch.no_grad():
            target = latents.synthesize(generator).clamp(-1, 1).cpu()
    else:
        target = reader.read(source, align=align)
    landmarks = _source_landmarks(landmarker, target.to(generator.device), path or "the source")
    name = "image" if path is None else path.stem
    if not takes_codes:
        return Source(name, target[0], landmarks, lambda: target, {})
    if latents is not None:
        return Source(name, target[0], landmarks, lambda: latents, {})
    assert inverter is not None  # see `needs_inversion`

    def find_face() -> Latents:
        return inverter.invert(target, [name]).latents

    return Source(name, target[0], landmarks, find_face, inverter.plan.to_dict())


@torch.no_grad()
def _source_landmarks(landmarker: data.Landmarker, image: Tensor, name: str | Path) -> Tensor:
    """Landmarks (K, 2) of an image (1, C, R, R), on the CPU; data.PhotoError without a face."""
    detected = landmarker(image[:, :3] if image.shape[1] > 3 else image)
    points = detected.points[0].float().cpu()
    if not (detected.is_face[0] and points.isfinite().all()):
        raise data.PhotoError(
            f"{name}: got a source in which the landmark network sees no upright face (score "
            f"{float(detected.score[0]):.2f} of 1), expected one seen from the front; use another "
            "photo, or align it by leaving --no-align out"
        )
    return points
