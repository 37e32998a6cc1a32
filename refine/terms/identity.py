"""The identity term: image and target must show the same person."""

import torch
from torch import Tensor

from facsimile.refine.loss_inputs import LossInputs, Networks
from facsimile.refine.recipe import Recipe, Term

from . import register


def _prepare(networks: Networks, images: Tensor) -> list[Tensor]:
    """Embeddings (N, D) of the targets, and (N,) 1 where a target shows a face, else 0."""
    shows_face = networks.get("shows_face")
    faces = torch.ones(len(images)) if shows_face is None else shows_face(images)
    return [networks["identity"].embed(images), faces.to(images)]


def _check(recipe: Recipe, networks: Networks) -> None:
    if getattr(networks["identity"], "training", False):
        raise ValueError(
            "the identity network is in training mode, in which images may influence one another; "
            "call its eval() first"
        )


@register(networks=("identity",), prepare=_prepare, check=_check)
def identity(inputs: LossInputs, term: Term) -> Tensor:
    """e (d / t)^2: d, the distance of the embeddings, t, the network's threshold, e, pixel error.

    Two pictures show the same person where d < t; at d = t the term equals the pixel error.
    e = mean((G - x)^2) is not differentiated: image by image, it makes the term weaker as the
    picture gets closer. A fixed weight that is right for a distant picture is too large for a close
    one, which leaves its target for the sake of this network alone. benchmarks/identity.py compares
    the forms, judged by another network.

    networks["identity"]: a `metrics.IdentityNetwork`. networks["shows_face"], optional: a callable
    from images (N, C, H, W) to (N,) bool; where a target shows no face, the term is 0.
    """
    embeddings, faces = inputs.target_features(term)
    network = inputs.network("identity")
    distance_sq = (network.embed(inputs.image) - embeddings).square().sum(1)
    error = inputs.difference(term).detach().square().flatten(1).mean(1)
    return faces * error * distance_sq / network.threshold**2
