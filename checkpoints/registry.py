"""Finds networks: by a bundled name, a file, or a folder with generator.safetensors."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from facsimile import stylegan
from facsimile.stylegan import Discriminator, Generator, files

from .encoder_set import EncoderSet

BUNDLED = Path(__file__).parent
LANDMARKS = BUNDLED / "landmarks68" / "landmarks.safetensors"
"""The small landmark network, for `data.landmarker`."""
REGIONS = BUNDLED / "regions" / "regions.safetensors"
"""The small region network, for `data.region_network.RegionFinder`."""
GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"
PREDECESSORS = "predecessors.json"
"""Beside a bundled generator: the fingerprints of the networks that it has replaced, and for each
the command that fetches it."""


@dataclass(frozen=True)
class Networks:
    """A generator and what belongs to it; the networks are frozen."""

    name: str
    """As it was asked for."""
    generator: Generator
    discriminator: Discriminator | None
    """None if neither the folder nor the file has one."""
    encoders: EncoderSet


def names() -> list[str]:
    """Names of the bundled networks."""
    return sorted(path.parent.name for path in BUNDLED.glob(f"*/{GENERATOR}"))


def find(
    name: str | Path,
    device: torch.device | str = "cpu",
    encoders: str | Path | Sequence[str | Path] = (),
) -> Networks:
    """The frozen networks called `name`: a bundled name, a generator's file, or a folder.

    The discriminator is in discriminator.safetensors beside the generator, or in the generator's
    file. Encoders are KIND.safetensors beside the generator, or those that `encoders` names: files,
    or folders of runs. Raises FileNotFoundError or ValueError.
    """
    path = BUNDLED / str(name) if str(name) in names() else Path(name)
    if path.is_dir():
        path = path / GENERATOR
    elif not path.is_file():
        raise FileNotFoundError(
            f'there is no generator "{name}"; give one of the bundled names '
            f"({', '.join(names())}), a file, or a folder with {GENERATOR}"
        )
    generator = stylegan.load(path, device)
    generator.statistics_cache = statistics_cache(path)
    predecessors = path.with_name(PREDECESSORS)
    if predecessors.is_file():
        generator.predecessors = json.loads(predecessors.read_text(encoding="utf-8"))
    beside = path.with_name(DISCRIMINATOR)
    discriminator: Discriminator | None
    if beside.is_file():
        discriminator = stylegan.load_discriminator(beside, device)
    else:
        beside, discriminator = path, _discriminator_in(path, device)
    if discriminator is not None and discriminator.img_channels != generator.img_channels:
        raise ValueError(
            f"{beside} takes images of {discriminator.img_channels} channels, and the generator "
            f"beside it makes {generator.img_channels}; keep only networks of one pair in a folder"
        )
    encoder_set = EncoderSet(generator, path.parent, encoders)
    return Networks(str(name), generator, discriminator, encoder_set)


def statistics_cache(path: Path) -> tuple[Path, ...]:
    """Where the statistics of a generator's file are cached: beside it, or in the home folder."""
    beside = path.with_name(f"{path.stem}.statistics.safetensors")
    try:
        return beside, Path.home() / ".cache" / "facsimile"
    except RuntimeError:  # a user without a home folder
        return (beside,)


def _discriminator_in(path: Path, device: torch.device | str) -> Discriminator | None:
    """The discriminator in a generator's file; None if there is none, or an unknown variant."""
    if "discriminator" not in files.kinds(path):
        return None
    try:
        return stylegan.load_discriminator(path, device)
    except ValueError:
        # An unknown variant is no reason to refuse the generator.
        return None
