"""What a result misses by more than a stated bound: landmarks that were asked for, or the person.

Legend: N images, C channels, R resolution of the generator, D numbers of an embedding.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from facsimile.metrics import IdentityNetwork

LANDMARK_BOUND = 0.1
"""Mean distance of the landmarks from those asked for, in distances between the outer corners of
the eyes; benchmarks of landmark networks count a face with more as failed."""


@torch.no_grad()
def person_distances(network: IdentityNetwork, images: Tensor, person: Tensor) -> list[float]:
    """How far the person in images (N, C, R, R) in [-1, 1] is from the embedding (1 or N, D)."""
    return torch.linalg.vector_norm(network.embed(images) - person, dim=1).tolist()


def landmark_miss(errors: Sequence[float], unit: str = "frame") -> str:
    """A sentence on errors (NaN: no face is seen) above the bound; "" for none."""
    missed = sum(not error <= LANDMARK_BOUND for error in errors)
    if not missed:
        return ""
    return (
        f"in {_of(missed, len(errors), unit)} the landmarks miss those asked for by more than "
        f"{LANDMARK_BOUND:g} of the distance between the eyes; ask for a smaller motion"
    )


def person_miss(distances: Sequence[float], network: IdentityNetwork, unit: str = "frame") -> str:
    """A sentence on distances at or above the network's threshold; "" for none."""
    measured = [distance for distance in distances if not math.isnan(distance)]
    missed = sum(distance >= network.threshold for distance in measured)
    if not missed:
        return ""
    compared = " compared" * (len(measured) > 1)
    shows = f"{compared} {'shows' if missed == 1 else 'show'}"
    return (
        f"{_of(missed, len(measured), unit)}{shows} another person than before, by "
        f"{network.title}: a distance of {max(measured):.2f}, and "
        f"{network.threshold:g} is the bound"
    )


def _of(count: int, total: int, unit: str) -> str:
    """ "the only frame", "3 of 25 frames"."""
    return f"the {unit}" if total == 1 else f"{count} of {total} {unit}s"
