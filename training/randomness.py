"""Randomness as a function of position: nothing of it has to be stored to go on after a stop."""

import hashlib

import torch


def source(device: torch.device | str, *key: int | str) -> torch.Generator:
    """A generator for what `key` names, e.g. (seed, "latents", block): the same in every run."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "little") >> 1  # torch takes 63 bits
    return torch.Generator(device).manual_seed(number)
