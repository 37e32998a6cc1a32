"""The recipes: what the papers do, as data. `get("f/z+ +noise")` puts one together by name.

To add a paper, put a page into this folder that ends in `register(Recipe(...))`. A suffix is a
function `Recipe -> Recipe`, registered by `register_suffix("+name", function)`.
"""

import pkgutil
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module

from facsimile.refine.recipe import Recipe

Suffix = Callable[[Recipe], Recipe]

RECIPES: dict[str, Recipe] = {}
"""By name; the pages of this folder fill it."""
SUFFIXES: dict[str, Suffix] = {}
"""By name, such as "+noise"; each acts on a recipe of any number of phases."""


def register(*recipes: Recipe) -> None:
    """Make recipes available under their names; ValueError where a name is taken."""
    for recipe in recipes:
        if RECIPES.setdefault(recipe.name, recipe) != recipe:
            raise ValueError(
                f'got a second recipe "{recipe.name}", which differs from the first; '
                "give it another name"
            )


def register_suffix(name: str, suffix: Suffix) -> None:
    """Make "RECIPE +NAME" available for every recipe; the name of the result is set by `get`."""
    if SUFFIXES.setdefault(name, suffix) is not suffix:
        raise ValueError(f'got a second suffix "{name}"; give it another name')


def load_pages() -> None:
    """Import every page in this package's folders, `__path__`; a folder may be appended to it."""
    for page in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{page.name}")


def get(name: str) -> Recipe:
    """The recipe of a name: one of RECIPES, alone or followed by some of SUFFIXES.

    Suffixes act from left to right, each at most once. Blanks do not count: "w+ +noise" is
    "w++noise". Raises ValueError where there is no such recipe.
    """
    base = name.replace(" ", "")
    suffixes: list[str] = []
    while base not in RECIPES:
        endings = [x for x in SUFFIXES if base.endswith(x) and x not in suffixes]
        if not endings:
            raise ValueError(
                f'there is no recipe "{name}"; choose one of {", ".join(RECIPES)}, '
                f"alone or followed by some of {', '.join(SUFFIXES)}"
            )
        suffixes.insert(0, max(endings, key=len))
        base = base.removesuffix(suffixes[0])
    recipe = RECIPES[base]
    for suffix in suffixes:
        recipe = with_suffix(recipe, suffix)
    return recipe


def with_suffix(recipe: Recipe, suffix: str) -> Recipe:
    """The recipe, registered or not, with one of SUFFIXES and its name."""
    return replace(SUFFIXES[suffix](recipe), name=f"{recipe.name} {suffix}")


load_pages()
