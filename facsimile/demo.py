"""The demo: a photo that everybody has, inverted in two ways, and what came of it."""

from pathlib import Path

from PIL import Image

from facsimile import data

from . import pictures
from .studio import load

RECIPES = {"f/z+": 400, "w+ +noise": 400}
"""Recipe -> steps: about a minute on two cores."""


def demo(out: Path) -> int:
    """Align the astronaut's face, invert it in F/Z+ and in W+ then noise, print a table."""
    from skimage.data import astronaut  # a public-domain photo by NASA, inside scikit-image

    out.mkdir(parents=True, exist_ok=True)
    photo = Image.fromarray(astronaut())
    photo.save(out / "astronaut.png")
    # The discriminator needs no download, so that the demo is the same everywhere.
    studio = load("faces", perceptual="discriminator")
    target = studio.targets(photo)
    data.to_pil(target[0]).save(out / "aligned.png")
    print(f"{studio.generator.resolution} px generator, {studio.device}; {studio.perceptual.note}")
    print(f"{'recipe':<12}{'steps':>7}{'MSE':>10}{'PSNR dB':>10}{'SSIM':>8}{'seconds':>9}")
    drawn = [target[0]]
    for recipe, steps in RECIPES.items():
        result = studio.invert(target, recipe=recipe, steps=steps, names=["astronaut"])
        folder = result.save(out / recipe.replace("/", "-").replace(" ", ""))[0]
        mse, psnr, ssim = (result.scores[name][0] for name in ("mse", "psnr", "ssim"))
        figures = f"{mse:>10.4f}{psnr:>10.2f}{ssim:>8.3f}{result.seconds:>9.1f}"
        print(f"{recipe:<12}{result.steps[0]:>7}{figures}  {folder}")
        drawn.append(result.images[0])
    pictures.panels(drawn).save(out / "demo.png")
    print(f"target, {', '.join(RECIPES)} side by side: {out / 'demo.png'}")
    return 0
