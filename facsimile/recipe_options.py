"""A recipe with the changes that a command or `Studio.plan` was asked for."""

from dataclasses import replace

from facsimile.refine import Recipe, recipes

EXACT_PSNR = 40.0
"""dB, at which an exact inversion stops: errors of 2.6 levels of 256, which hardly anyone sees."""


def adapt_recipe(
    recipe: str | Recipe,
    steps: int | None,
    exact: bool,
    lr: float,
    patience: int | None,
    layer: str | None,
) -> Recipe:
    """A recipe with the changes of `PlanOptions`; ValueError for numbers out of range."""
    if lr <= 0:
        raise ValueError(f"lr is {lr}; it must be above 0")
    if steps is not None and steps < 0:
        raise ValueError(f"steps is {steps}; it must be 0 or more")
    if patience is not None and patience < 1:
        raise ValueError(f"patience is {patience}; it must be 1 or more")
    if isinstance(recipe, str):
        recipe = recipes.get(recipe)
        if steps is None and patience is None:
            recipe = recipe.until_done()
    if exact:
        recipe = _exact(recipe)
    if steps is not None:
        recipe = recipe.with_steps(steps)
    if lr != 1:
        recipe = recipe.with_lr(lr)
    if patience is not None:
        recipe = recipe.with_patience(patience)
    return recipe if layer is None else recipe.with_layer(layer)


def _exact(recipe: Recipe) -> Recipe:
    """The recipe, then its noise maps until the picture is within EXACT_PSNR of the target."""
    if not any(phase.has_variable("noise") for phase in recipe.phases):
        recipe = recipes.with_suffix(recipe, "+noise")
    last = recipe.phases[-1]
    if [term.name for term in last.terms] != ["pixel"]:
        raise ValueError(
            f'the recipe "{recipe.name}" ends with the terms '
            f"{', '.join(term.name for term in last.terms)}, and exact needs the pixel term alone; "
            "take a recipe without noise maps of its own, or with +noise"
        )
    mse = 4 * 10 ** (-EXACT_PSNR / 10)  # of images in [-1, 1]
    goal = replace(last, goal=mse * float(last.terms[0].weight_for("none")))
    return replace(recipe, phases=(*recipe.phases[:-1], goal))
