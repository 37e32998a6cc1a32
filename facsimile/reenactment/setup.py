"""What happens before the first frame: the encoder, the driver and the source are prepared."""

from pathlib import Path

import torch
from PIL import Image

from facsimile import data
from facsimile.checkpoints import EncoderSet, LoadedEncoder
from facsimile.encoders import KINDS
from facsimile.feature_edits import EDITOR, IN_DOMAIN
from facsimile.metrics import IdentityNetwork
from facsimile.stylegan import Generator
from facsimile.stylegan.generator import fingerprint

from .drivers import Driver, VideoDriver, open_driver
from .scripted import ScriptedDriver, is_motion, read_motion
from .source import SourceFinder
from .video import Reenactment

FEATURE = "feature"
FEATURE_RECIPE, IN_DOMAIN_RECIPE = "f/z+", "in-domain"


def pick_encoder(encoders: EncoderSet) -> LoadedEncoder:
    """The first encoder that takes landmarks, codes in W+ before images; ValueError for none."""
    kinds = [kind for kind in KINDS.values() if kind.predicts == "w+ given landmarks"]
    kinds.sort(key=lambda kind: kind.source != "w+")
    return encoders.get(next((x.name for x in kinds if encoders.has(x.name)), kinds[0].name))


def takes_codes(encoder: LoadedEncoder) -> bool:
    """Whether the encoder takes codes in W+, and not images."""
    return KINDS[encoder.kind].source == "w+"


def pick_source_recipe(encoders: EncoderSet) -> str:
    """The recipe that finds the latents of a photo.

    F/Z+, whose features keep far more of the person, where an encoder predicts the feature and an
    editor moves it; else in-domain: W+ close to the encoder, where difference encoders learn.
    """
    if not all(encoders.has(kind) for kind in (FEATURE, EDITOR, IN_DOMAIN)):
        return IN_DOMAIN_RECIPE
    layers = {encoders.get(kind).network.config.layer for kind in (FEATURE, EDITOR)}
    return FEATURE_RECIPE if len(layers) == 1 else IN_DOMAIN_RECIPE


def find_driver(
    driver: str | Path,
    landmarker: data.Landmarker,
    detector: data.FaceDetector | None,
    resolution: int,
    device: torch.device,
    fps: float | None = None,
    exclude: str | Path | None = None,
    face: str = "largest",
    identity: IdentityNetwork | None = None,
) -> Driver:
    """A script as "yaw:20", or what lies at a path; see `open_driver`."""
    if is_motion(driver):
        return read_motion(str(driver), fps)
    return open_driver(
        driver, landmarker, detector, resolution, device, fps, exclude, face, identity
    )


def prepare_reenactment(
    generator: Generator,
    name: str,
    encoder: LoadedEncoder,
    source: str | Path | Image.Image,
    driver: Driver,
    *,
    find_source: SourceFinder,
    identity: IdentityNetwork | None,
    relative: bool | None,
    smoothing: float,
    frames: int | None,
    preserve_source: bool,
    batch: int,
) -> Reenactment:
    """Check what was asked for and find the source's face; see `Studio.reenact`.

    name: of the generator. identity: compares the persons of source and results.
    """
    landmarker = find_source.landmarker
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
    face = find_source(source)
    return Reenactment(
        generator=generator,
        encoder=encoder.network,
        source=face,
        driver=driver.for_source(face.landmarks),
        relative=relative,
        # A script has no jitter.
        smoothing=0 if scripted else smoothing,
        landmarker=landmarker,
        identity=identity,
        preserve_source=preserve_source and find_source.takes_codes,
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
            "align": find_source.align,
            "face": driver.tracker.choice.text if isinstance(driver, VideoDriver) else "",
            "source_face": find_source.face,
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
