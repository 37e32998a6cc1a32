"""Randomness as a function of its purpose: a seed, a name and a position.

A resumed run needs no stored random state. And no code is drawn from the bare seed: the first
weights of a network built after `torch.manual_seed(0)` are the numbers of that same stream, so its
response to these codes would be unlike its response to any others.
"""

import hashlib

import torch


def keyed_generator(device: torch.device | str, *key: int | str) -> torch.Generator:
    """The random generator of a key, e.g. (seed, "latents", block): the same in every run."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "little") >> 1  # torch takes 63 bits
    return torch.Generator(device).manual_seed(number)
