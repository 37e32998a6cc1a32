"""Encoders as files: one .safetensors each, which says what it is and whose."""

import json
from dataclasses import asdict
from pathlib import Path

import torch

from facsimile import stylegan
from facsimile.stylegan import Generator, files

from .difference import DifferenceConfig, DifferenceEncoder
from .feature import FeatureConfig, FeatureEncoder
from .in_domain import InDomainConfig, InDomainEncoder
from .naive import NaiveConfig, NaiveEncoder

FORMAT = "facsimile encoder"
FILE = "encoder.safetensors"
Encoder = FeatureEncoder | InDomainEncoder | DifferenceEncoder | NaiveEncoder
KINDS = {
    "base": (FeatureConfig, FeatureEncoder),
    "in-domain": (InDomainConfig, InDomainEncoder),
    "difference": (DifferenceConfig, DifferenceEncoder),
    "naive": (NaiveConfig, NaiveEncoder),
}
"""What `train.py keypoint` makes is of the kind "difference" too; its configuration says so."""


def kind_of(encoder: Encoder) -> str:
    return next(name for name, (_, network) in KINDS.items() if isinstance(encoder, network))


def check(encoder: Encoder, generator: Generator) -> None:
    """ValueError unless the encoder was trained for this generator."""
    if encoder.config.fingerprint != generator.fingerprint:
        raise ValueError(
            f"this encoder was trained for the generator {encoder.config.fingerprint}, and this "
            f"one is {generator.fingerprint}; load that one, or train an encoder for this one"
        )


def save(encoder: Encoder, path: str | Path, *, half: bool = False) -> None:
    """Write an encoder with its configuration as one .safetensors file; raises OSError.

    half: matrices and kernels as float16; vectors, few and some of them statistics, as they are.
    """
    tensors = encoder.state_dict()
    if half:
        tensors = {name: x.half() if x.ndim > 1 else x for name, x in tensors.items()}
    metadata = {
        "format": FORMAT,
        "kind": kind_of(encoder),
        "config": json.dumps(asdict(encoder.config)),
    }
    files.write_tensors(path, tensors, metadata)


def load(path: str | Path, generator: Generator) -> Encoder:
    """The frozen encoder in a file, or in a run's folder, on the generator's device.

    Raises FileNotFoundError, or ValueError for another generator's encoder or what is no encoder.
    """
    encoder = read(path)
    check(encoder, generator)
    return stylegan.freeze(encoder).to(generator.device, generator.dtype)


def read(path: str | Path) -> Encoder:
    """The encoder in a file, or in a run's folder, whosever it is; raises as `load`."""
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; expected an encoder's file, or a folder with {FILE}"
        )
    metadata, tensors = files.read_tensors(path)
    if metadata.get("format") != FORMAT or metadata.get("kind") not in KINDS:
        raise ValueError(
            f"{path} is no encoder; expected a file that train.py {' or '.join(KINDS)} has written"
        )
    config, network = KINDS[metadata["kind"]]
    try:
        # Nothing is allocated for what the configuration says, only for what is there.
        with torch.device("meta"):
            encoder = network(config(**json.loads(metadata["config"])))
        if "rgb" in tensors:
            encoder.rgb = torch.empty_like(tensors["rgb"])
        encoder.load_state_dict(tensors, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} is damaged ({str(error).splitlines()[0]}); copy it again"
        ) from error
    return encoder
