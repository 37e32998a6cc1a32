"""What the command line's commands are told; the docstrings are their help."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from facsimile.metrics import PERCEPTUAL_METRICS


@dataclass(frozen=True, kw_only=True)
class Invert:
    """Find the latents that redraw photos.

    Writes for every photo OUT/NAME/ with target.png, reconstruction.png, latents.safetensors and
    scores.json, and unless --steps is 0 comparison.png and loss.png; for the run OUT/overview.png
    and OUT/summary.json.
    Run the same command again to go on after a stop: what is done is skipped.

    One photo: facsimile invert me.jpg --out out

    A folder, nearly exactly: facsimile invert holiday/ --out out --recipe "w+ +noise"

    Aligned faces, another generator: facsimile invert aligned/ --out out --no-align --generator
    my-generator.safetensors

    As fast as can be, by an encoder alone: facsimile invert holiday/ --out out --steps 0 --start
    encoder
    """

    photos: tyro.conf.Positional[list[Path]]
    """Photos, or folders of photos."""
    out: Path
    """Folder for the results."""
    generator: str = "faces"
    """A bundled name, a generator's file, or a folder with generator.safetensors."""
    encoder: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """An encoder's file, or the folder of a run of train.py; once for each kind. Default:
    base.safetensors and in-domain.safetensors beside the generator."""
    recipe: str = "f/z+"
    """What moves: z, z+, w, w+, p_n+, s, f/w+, f/p_n+, f/s, f/z, f/z+; in-domain (W+ held to its
    encoder); the noise maps follow with "w+ +noise"."""
    steps: int | None = None
    """Steps of the code; those of the noise go in proportion. Default: the recipe's own. 0: the
    start itself, an encoder's guess; thousands of photos stream through."""
    seed: int = 0
    """Of random starts (the Z spaces)."""
    batch: int = 8
    """Photos refined at once. It changes the time, and the result by no more than rounding."""
    perceptual: Literal[PERCEPTUAL_METRICS] = "auto"
    """Perceptual term. auto: LPIPS-VGG where its weights are or can be fetched, else the
    generator's own discriminator; none where --steps is 0."""
    perceptual_weights: Path | None = None
    """Local file of the perceptual network's ImageNet weights (torchvision's names)."""
    start: Literal["mean", "random", "encoder"] | None = None
    """Where it starts. Default: at an encoder's guess in f/ recipes (the feature), w+ and in-domain
    where there is such an encoder, else random in Z spaces and the mean in the others."""
    label: int | None = None
    """Class, from 0 on, that a conditional generator is to draw."""
    layer: str | None = None
    """Convolution whose output is the feature of f/ recipes, e.g. b16.conv0. Default: the base
    encoder's, else the first of 16 pixels, or of an eighth of the image's side."""
    lr: float = 1.0
    """Factor of the papers' learning rates. About 3 gets further in a few hundred steps."""
    patience: int | None = None
    """Stop an image early when its loss has not fallen by 0.1 % in so many steps."""
    align: bool = True
    """Find the face and crop it as FFHQ does. --no-align: the photos are such crops already."""
    face: Literal["largest", "all"] = "largest"
    """Which faces of a photo with several."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""


@dataclass(frozen=True, kw_only=True)
class Align:
    """Find the faces in photos and crop them as FFHQ does.

    Writes OUT/NAME.png; with --face all the further faces are NAME-face2.png and so on.
    """

    photos: tyro.conf.Positional[list[Path]]
    """Photos, or folders of photos."""
    out: Path
    """Folder for the crops."""
    size: int = 1024
    """Side of the crops in pixels."""
    face: Literal["largest", "all"] = "largest"
    """Which faces of a photo with several."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""


@dataclass(frozen=True, kw_only=True)
class PrepareData:
    """Make a training set for train.py out of photos: a zip of aligned faces.

    Photos without a face are listed and left out. Run the same command again to go on after a stop,
    or with more photos to add them.
    """

    photos: tyro.conf.Positional[list[Path]]
    """Photos, or folders of photos."""
    out: Path
    """The zip to write."""
    resolution: int
    """Side of the faces in pixels."""
    face: Literal["largest", "all"] = "largest"
    """Which faces of a photo with several."""
    align: bool = True
    """Find the face and crop it as FFHQ does. --no-align: the photos are such crops already."""
    processes: int = os.cpu_count() or 1
    """Photos at a time."""


@dataclass(frozen=True, kw_only=True)
class Info:
    """Say what a file of networks or of latents is.

    It opens what convert opens, and runs nothing that is in a file.
    """

    file: tyro.conf.Positional[str]
    """A file, a folder with generator.safetensors, or a bundled name."""


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Write a network of any format as one .safetensors file, which says what it holds.

    Reads the .pkl of NVIDIA (StyleGAN3, StyleGAN2-ADA and StyleGAN2 for PyTorch; StyleGAN2-ADA,
    StyleGAN2 and StyleGAN1 for TensorFlow), rosinality's .pt, genforce's and IDInvert's .pth, the
    generator inside pSp and e4e checkpoints, and .safetensors. Nothing in a file is executed.

    A generator: facsimile convert ffhq.pkl --out ffhq/generator.safetensors

    Its discriminator, for the perceptual term: facsimile convert ffhq.pkl --network discriminator
    --out ffhq/discriminator.safetensors

    An encoder of train.py, at half the size, to be found beside its generator: facsimile convert
    runs/base/encoder.safetensors --network encoder --half --out ffhq/base.safetensors
    """

    file: tyro.conf.Positional[Path]
    """The network's file."""
    out: Path
    """The .safetensors file to write."""
    network: Literal["generator", "discriminator", "encoder"] = "generator"
    """Which network of the file."""
    half: bool = False
    """Store float16: half the size, and images that differ a little. A generator is then another
    one, with a fingerprint of its own: latents of the original are refused."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Draw samples of a generator, as one sheet or as a picture each."""

    out: Path
    """The picture to write; or a folder, where there is no ending: 000000.png and so on."""
    generator: str = "faces"
    """A bundled name, a generator's file, or a folder with generator.safetensors."""
    count: int = 48
    """Samples, eight to a row."""
    truncation: float = 0.7
    """psi: 1 is the generator's whole variety, 0 its average image."""
    seed: int = 0
    """Sample i of a seed is the same in any count."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Invert the face of scikit-image's astronaut photo, in F/Z+ and in W+ then noise."""

    out: Path = Path("out/demo")
    """Folder for the results."""
