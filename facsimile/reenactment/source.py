"""The face that is reenacted: of a photo, or of latents in any space.

Legend: N images, C channels, L style inputs, D numbers in w, R resolution of the generator, K = 68
points.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from facsimile import data
from facsimile.checkpoints import EncoderSet
from facsimile.data.face_choice import read_one
from facsimile.editing.feature_transport import FeatureTransport
from facsimile.feature_edits import IN_DOMAIN, in_domain_encoder, open_transport
from facsimile.inversion import Inverter
from facsimile.refine import Step
from facsimile.stylegan import Generator, Latents, PhotoCrop, spaces
from facsimile.targets import TargetReader


@dataclass(frozen=True)
class Face:
    """What an encoder moves."""

    given: Latents | Tensor
    """Latents of one image; or the image (1, C, R, R), for an encoder that takes images."""
    ws: Tensor | None = None
    """Codes (1, L, D) at which the motion is predicted, for latents that have none in W+."""
    transport: FeatureTransport | None = None
    """Carries the motion into the feature of latents in an f/ space."""
    note: str = ""
    """How latents that have no codes in W+ are moved; "" for the others."""


@dataclass(frozen=True)
class Source:
    """The face that is reenacted."""

    name: str
    target: Tensor
    """(C, R, R) in [-1, 1]: the photo's face, or the image of given latents."""
    landmarks: Tensor
    """(K, 2) in pixels of the target."""
    find_face: Callable[[], Face]
    """Computes `face`, which may take a while."""
    settings: dict
    """What decides the face, beside the target."""
    crop: PhotoCrop | None = None
    """Where in its photo the face is; None if that is not known."""

    @cached_property
    def face(self) -> Face:
        return self.find_face()


@dataclass(frozen=True, kw_only=True)
class SourceFinder:
    """What finds the source's face in a photo, or in a file of latents."""

    generator: Generator
    encoders: EncoderSet
    landmarker: data.Landmarker
    reader: TargetReader
    """Reads a photo."""
    takes_codes: bool
    """Whether the reenactment's encoder takes codes in W+, and not images."""
    inverter: Inverter | None
    """Finds the latents of a photo; None if it needs none."""
    align: bool
    face: str = "largest"
    """Which face of the photo, one alone; see `data.face_choice`."""
    callback: Callable[[Step], None] | None = None
    """Called with every step of the inverter's refinement."""

    def __call__(self, source: str | Path | Image.Image) -> Source:
        """Read the source and detect its landmarks; its latents are found when they are needed.

        Raises FileNotFoundError, data.PhotoError, or ValueError for what cannot be reenacted.
        """
        path = None if isinstance(source, Image.Image) else Path(source)
        if path is not None and is_latents_file(path):
            return self._of_latents(path)
        target, crops = self.reader.read_crops(
            source, align=self.align, face=read_one(self.face).text
        )
        landmarks = self._landmarks(target, path or "the source")
        name = "image" if path is None else path.stem
        if not self.takes_codes:
            return Source(name, target[0], landmarks, lambda: Face(target), {}, crops[0])
        inverter = self.inverter
        assert inverter is not None

        def find_face() -> Face:
            result = inverter.invert(target, [name], callback=self.callback).with_crops(crops)
            return self._face(result.latents.to(self.generator.device), name)

        return Source(name, target[0], landmarks, find_face, inverter.plan.to_dict(), crops[0])

    def _of_latents(self, path: Path) -> Source:
        generator = self.generator
        latents = Latents.load(path, generator).to(generator.device, generator.dtype)
        if len(latents) != 1:
            raise ValueError(f"{path}: got latents of {len(latents)} images, expected those of one")
        with torch.no_grad():
            target = latents.synthesize(generator).clamp(-1, 1).cpu()
        landmarks = self._landmarks(target, path)

        def find_face() -> Face:
            return self._face(latents, path) if self.takes_codes else Face(target)

        crop = latents.crops[0] if latents.crops else None
        return Source(path.stem, target[0], landmarks, find_face, {}, crop)

    def _face(self, latents: Latents, name: str | Path) -> Face:
        """Latents of one image, and what moves them in a space that does not lead to W+."""
        if has_codes(self.generator, latents):
            return Face(latents)
        if not self.encoders.has(IN_DOMAIN):
            raise ValueError(
                f'{name}: got latents in "{latents.space}", which have no codes in W+, and this '
                f"generator has no {IN_DOMAIN} encoder to find some for their picture; run "
                f"facsimile train {IN_DOMAIN}, or facsimile invert PHOTO --recipe w+"
            )
        with torch.no_grad():
            image = latents.synthesize(self.generator).clamp(-1, 1)
            ws = in_domain_encoder(self.generator, self.encoders)(image)
        source = f'source: latents in "{latents.space}"'
        if latents.feature is None:
            return Face(latents, ws, None, f"{source}, moved as their picture's {IN_DOMAIN} code")
        transport, problem = open_transport(self.generator, self.encoders, [latents])
        if transport is not None:
            note = f"{source}, whose feature follows by the feature editor"
            return Face(latents, ws, transport, note)
        code = Latents(
            space="w+",
            code=ws,
            fingerprint=latents.fingerprint,
            label=latents.label,
            placement=latents.placement,
        )
        return Face(code, note=f"{source}; their picture's {IN_DOMAIN} code is moved: {problem}")

    @torch.no_grad()
    def _landmarks(self, image: Tensor, name: str | Path) -> Tensor:
        """Landmarks (K, 2) of an image (1, C, R, R), on the CPU; PhotoError without a face."""
        image = image.to(self.generator.device)
        detected = self.landmarker(image[:, :3] if image.shape[1] > 3 else image)
        points = detected.points[0].float().cpu()
        if not (detected.is_face[0] and points.isfinite().all()):
            raise data.PhotoError(
                f"{name}: got a source in which the landmark network sees no upright face (score "
                f"{float(detected.score[0]):.2f} of 1), expected one seen from the front; use "
                "another photo, or align it by leaving --no-align out"
            )
        return points


def is_latents_file(source: str | Path | Image.Image) -> bool:
    return not isinstance(source, Image.Image) and Path(source).suffix == ".safetensors"


def has_codes(generator: Generator, latents: Latents) -> bool:
    """Whether the face of latents is in codes of W+ and noise maps alone."""
    space, has_feature = spaces.parse(latents.space)
    code = space.decode(generator, latents.code, latents.label)
    return not has_feature and isinstance(code, Tensor)


def _note(latents: Latents, text: str) -> str:
    return f'source: latents in "{latents.space}"; {text}'
