"""Randomness as a function of what it is for.

Nothing of it has to be stored to go on after a stop. And codes are never drawn from the bare seed:
a network whose first weights came from `torch.manual_seed(0)` answers to the codes of that same
stream as to no others, since those codes are rows of its weights.
"""

import hashlib

import torch


def keyed_generator(device: torch.device | str, *key: int | str) -> torch.Generator:
    """A generator for what `key` names, e.g. (seed, "latents", block): the same in every run."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "little") >> 1  # torch takes 63 bits
    return torch.Generator(device).manual_seed(number)
