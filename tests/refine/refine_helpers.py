"""What the tests of refinement share: short runs with the `tiny` fixture of tests/conftest.py."""

import io

import torch

from facsimile.refine import Phase, Recipe, Term, Variable, refine
from facsimile.refine.recipes import RECIPES

SUFFIXED = [f"{code}{suffix}" for code in RECIPES for suffix in (" +noise", " +joint-noise")]
NAMES = [*RECIPES, *SUFFIXED]


def go(tiny, recipe, rows=slice(None), start=None, networks=None, **options):
    """Refine the pictures of `rows`; networks: in place of the tiny ones of the same names."""
    start = tiny.start(recipe.space) if start is None else start
    networks = {"perceptual": tiny.perceptual, "encoder": tiny.encoder} | (networks or {})
    return refine(
        tiny.generator, start[rows], tiny.targets[rows], recipe, networks=networks, **options
    )


def bits(a, b):
    """Whether two results are the same, bit for bit."""
    (x, y) = a.latents.tensors(), b.latents.tensors()
    return (
        x.keys() == y.keys()
        and all(torch.equal(x[name], y[name]) for name in x)
        and a.history.keys() == b.history.keys()
        and all(
            torch.equal(a.history[k].nan_to_num(-1), b.history[k].nan_to_num(-1)) for k in a.history
        )
        and (a.status, a.steps) == (b.status, b.steps)
    )


def total(result, phase):
    """(T + 1, N) sum of a phase's terms."""
    return sum(x for name, x in result.history.items() if name.startswith(f"{phase}/"))


PLAIN = (Term("pixel", 1.0), Term("perceptual", 2.0))
MASKED = (Term("pixel", 1.0, mask="here"), Term("perceptual", 2.0, mask="here"))


def one_phase(space="w+", steps=20, lr=0.05, terms=PLAIN[:1], **options):
    phase = Phase(
        name="code", variables=(Variable("code", lr),), terms=terms, steps=steps, **options
    )
    return Recipe(name="test", space=space, phases=(phase,))


def states_of(tiny, recipe, every=1, **options):
    """(result, [what torch.save wrote in the callback])"""
    files = []

    def keep(step):
        if step.done % every == 0:
            file = io.BytesIO()
            torch.save(step.state(), file)
            files.append(file.getvalue())

    return go(tiny, recipe, callback=keep, **options), files
