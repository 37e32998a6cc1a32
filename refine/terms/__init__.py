"""The terms of a loss: one page or more of functions (inputs, term) -> a value (N,) per image.

To add a term, put a page into this folder:

    from . import register

    @register(networks=("depth",))
    def depth(inputs, term):
        \"""mean(|d(G) - d(x)|), d a depth network (a paper, its equation).\"""
        network = inputs.network("depth")
        difference = network(inputs.image) - network(inputs.target(term))
        return difference.abs().flatten(1).mean(1)

The function's name is the term's name in recipes. A value must depend on its own image alone.
"""

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module

import torch
from torch import Tensor

from facsimile.refine.loss_inputs import LossInputs, Networks, Targets
from facsimile.refine.recipe import BEFORE, Phase, Recipe, Term
from facsimile.stylegan import Generator, Latents

Prepare = Callable[[Networks, Tensor], list[Tensor]]
Check = Callable[[Recipe, Networks], None]


@dataclass(frozen=True)
class TermFunction:
    """A term as a page declares it."""

    compute: Callable[[LossInputs, Term], Tensor]
    """The unweighted value (N,) per image, differentiable."""
    networks: tuple[str, ...] = ()
    """Names in `refine(networks=...)` that it needs."""
    prepare: Prepare | None = None
    """(networks, a target's images (N, C, H, W)) -> tensors (N, ...), computed once for a run."""
    check: Check | None = None
    """Raises ValueError where the term does not fit a recipe or its networks."""


TERMS: dict[str, TermFunction] = {}
"""By name; the pages of this folder fill it."""


def register(
    *, networks: tuple[str, ...] = (), prepare: Prepare | None = None, check: Check | None = None
) -> Callable:
    """Decorator of a term's function; arguments as the fields of `TermFunction`."""

    def add(compute: Callable[[LossInputs, Term], Tensor]) -> Callable:
        name = compute.__name__
        if name in TERMS and TERMS[name].compute.__module__ != compute.__module__:
            raise ValueError(
                f'got a second term "{name}", of {compute.__module__}; the first is of '
                f"{TERMS[name].compute.__module__}; give it another name"
            )
        TERMS[name] = TermFunction(compute, networks, prepare, check)
        return compute

    return add


def load_pages() -> None:
    """Import every page in this package's folders, `__path__`; a folder may be appended to it."""
    for page in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{page.name}")


def get(name: str) -> TermFunction:
    """The term of this name; ValueError where there is none."""
    if name not in TERMS:
        raise ValueError(f'there is no term "{name}"; choose one of {", ".join(TERMS)}')
    return TERMS[name]


def check(recipe: Recipe, networks: Networks) -> None:
    """ValueError unless every term exists, fits the recipe and has its networks."""
    for term in recipe.terms():
        function = get(term.name)
        for name in function.networks:
            if networks.get(name) is None:
                raise ValueError(
                    f'the recipe "{recipe.name}" has the term "{term.name}", which needs the '
                    f'network "{name}"; pass networks={{"{name}": ...}}, or give the term the '
                    "weight 0"
                )
        if function.check is not None:
            function.check(recipe, networks)


def prepare(
    generator: Generator,
    initial: Latents,
    images: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    networks: Networks,
    recipe: Recipe,
) -> Targets:
    """The targets of a run, with what its terms compute from them once."""
    features = _features(networks, images, [x for x in recipe.terms() if x.target != BEFORE])
    return Targets(generator, initial, images, masks, networks, features)


def with_images_before(targets: Targets, phase: Phase, latents: Latents) -> Targets:
    """The targets of the phase that begins with these latents: also BEFORE, if a term asks for it.

    latents: of the same images as the targets.
    """
    terms = [term for term in phase.terms if term.weight and term.target == BEFORE]
    if not terms:
        return targets
    with torch.enable_grad():
        before = latents.synthesize(targets.generator).detach()
    features = _features(targets.networks, {BEFORE: before}, terms)
    images = {**targets.images, BEFORE: before}
    return replace(targets, images=images, features={**targets.features, **features})


def _features(
    networks: Networks, images: Mapping[str, Tensor], terms: Sequence[Term]
) -> dict[tuple[str, str], list[Tensor]]:
    features: dict[tuple[str, str], list[Tensor]] = {}
    # With gradients on, an image's features are the same in every batch (stylegan.layers.linear).
    with torch.enable_grad():
        for term in terms:
            make, key = get(term.name).prepare, (term.name, term.target)
            if make is not None and key not in features:
                features[key] = [x.detach() for x in make(networks, images[term.target])]
    return features


def evaluate(inputs: LossInputs, terms: tuple[Term, ...]) -> dict[str, Tensor]:
    """Weighted value (N,) of every term whose weight is not 0, by its `Term.key`."""
    values: dict[str, Tensor] = {}
    for term in (term for term in terms if term.weight):
        value = get(term.name).compute(inputs, term) * term.weight
        values[term.key] = values[term.key] + value if term.key in values else value
    return values


load_pages()
