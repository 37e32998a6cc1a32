"""Encoders as files: one .safetensors file with the kind, the configuration and the weights."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from facsimile import stylegan
from facsimile.stylegan import Generator, files

from .kinds import KINDS, kind_of

FORMAT = "facsimile encoder"
VERSION = 2
"""Of the file format; files without a version are version 0."""
FILE = "encoder.safetensors"
FORMER_NAMES = {"base": ("feature",), "keypoint": ("difference",)}
"""Names of kinds in files of versions 0 and 1, and of such files beside a generator."""


def file_names(kind: str) -> tuple[str, ...]:
    """Names that an encoder's file may have beside its generator, the usual one first."""
    return tuple(f"{name}.safetensors" for name in (kind, *FORMER_NAMES.get(kind, ())))


def check(encoder: nn.Module, generator: Generator) -> None:
    """ValueError unless the encoder was trained for this generator."""
    if encoder.config.fingerprint != generator.fingerprint:
        raise ValueError(
            f"this encoder was trained for the generator {encoder.config.fingerprint}, and this "
            f"one is {generator.fingerprint}; load that one, or train an encoder for this one"
        )


def save(encoder: nn.Module, path: str | Path, *, half: bool = False) -> None:
    """Write an encoder with its configuration as one .safetensors file; raises OSError.

    half: matrices and kernels as float16; vectors, which are few, and statistics stay.
    """
    tensors = encoder.state_dict()
    if half:
        statistics = {name for name, _ in encoder.named_buffers()}
        tensors = {
            name: x.half() if x.ndim > 1 and name not in statistics else x
            for name, x in tensors.items()
        }
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "kind": kind_of(encoder).name,
        "config": json.dumps(asdict(encoder.config)),
    }
    files.write_tensors(path, tensors, metadata)


def load(path: str | Path, generator: Generator) -> nn.Module:
    """The frozen encoder in a file, or in a run's folder, on the generator's device.

    Raises FileNotFoundError, and ValueError for an encoder of another generator or another file.
    """
    encoder = read(path)
    check(encoder, generator)
    return stylegan.freeze(encoder).to(generator.device, generator.dtype)


def read(path: str | Path) -> nn.Module:
    """The encoder in a file, or in a run's folder, of any generator; raises as `load`."""
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; expected an encoder's file, or a folder with {FILE}"
        )
    metadata, tensors = files.read_tensors(path)
    kind, config = _described(metadata, path)
    try:
        # Memory is allocated for the tensors in the file only, whatever the configuration says.
        with torch.device("meta"):
            encoder = kind.network(kind.config(**config))
        if "rgb" in tensors:
            encoder.rgb = torch.empty_like(tensors["rgb"])
        encoder.load_state_dict(tensors, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(_damaged(path, error)) from error
    return encoder


def kind_in(path: str | Path) -> str | None:
    """Name of the kind that a file declares; None if it is not an encoder's file."""
    try:
        metadata, _ = files.read_tensors(Path(path))
        return _described(metadata, Path(path))[0].name
    except (OSError, ValueError):
        return None


def _described(metadata: dict[str, str], path: Path) -> tuple[Any, dict[str, Any]]:
    """(kind, configuration) of a file, in the words of this version."""
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} is not an encoder; expected a file that facsimile train {' or '.join(KINDS)} "
            "has written"
        )
    version = metadata.get("version", "0")
    if not version.isdigit() or int(version) > VERSION:
        raise ValueError(
            f"{path} was written by a newer version of facsimile (format {version}, this one reads "
            f"up to {VERSION}); install a newer facsimile, or convert the file there"
        )
    try:
        name, config = metadata["kind"], json.loads(metadata["config"])
        if int(version) == 0:
            name, config = _from_version_0(name, config)
        if int(version) <= 1 and name == "feature":
            name = "base"  # today's "feature" predicts codes as well
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(_damaged(path, error)) from error
    if name not in KINDS:
        raise ValueError(
            f'{path} holds an encoder of the kind "{name}"; the kinds here are {", ".join(KINDS)}'
        )
    return KINDS[name], config


def _from_version_0(name: str, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Files without a version: other names of fields, and "difference" had variants."""
    name = config.pop("variant", name)
    fields = {"passes": "iterations", "eyes": "feature_net"}
    return name, {fields.get(field, field): value for field, value in config.items()}


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is damaged ({str(error).splitlines()[0]}); copy it again"
