"""`facsimile demo`: a photo that comes with scikit-image, inverted by two recipes."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from facsimile import data, pictures
from facsimile.exit_status import OK
from facsimile.studio import load

from .options import ComputeOptions

RECIPES = {"f/z+": 400, "w+ +noise": 400}
"""Recipe -> steps: about a minute on two cores."""


@dataclass(frozen=True, kw_only=True)
class Demo(ComputeOptions):
    """Invert the face of scikit-image's astronaut photo in F/Z+, and in W+ followed by the noise.

    Prints a table, and writes OUT/demo.png (target and both reconstructions) and a folder for each
    recipe.
    """

    out: Path = Path("out/demo")
    """Folder for the results."""

    def run(self) -> int:
        return demo(self.out, RECIPES, self.device)


def recipe_folder(recipe: str) -> str:
    """A folder's name that needs no quotes: "f-z-plus", "w-plus-noise"."""
    words = recipe.replace(" +", "-").replace("+", "-plus").replace("/", "-")
    return words.replace(" ", "")


def demo(out: Path, recipes: dict[str, int], device: str = "auto") -> int:
    """recipes: name -> steps. Returns the exit status."""
    from skimage.data import astronaut  # a public-domain photo by NASA, inside scikit-image

    out.mkdir(parents=True, exist_ok=True)
    photo = Image.fromarray(astronaut())
    photo.save(out / "astronaut.png")
    # The discriminator needs no download, so that the demo is the same everywhere.
    studio = load("faces", perceptual="discriminator", device=device)
    target = studio.targets(photo)
    data.to_pil(target[0]).save(out / "aligned.png")
    note = "" if studio.perceptual is None else studio.perceptual.note
    print(f"{studio.generator.resolution} px generator, {studio.device}; {note}")
    print(f"{'recipe':<12}{'steps':>7}{'MSE':>10}{'PSNR dB':>10}{'SSIM':>8}{'seconds':>9}")
    images = [target[0]]
    for recipe, steps in recipes.items():
        result = studio.invert(target, studio.plan(recipe, steps=steps), names=["astronaut"])
        folder = result.save(out / recipe_folder(recipe))[0]
        mse, psnr, ssim = (result.scores[name][0] for name in ("mse", "psnr", "ssim"))
        columns = f"{mse:>10.4f}{psnr:>10.2f}{ssim:>8.3f}{result.seconds:>9.1f}"
        print(f"{recipe:<12}{result.steps[0]:>7}{columns}  {folder}")
        images.append(result.images[0])
    pictures.panels(images, labels=["target", *recipes]).save(out / "demo.png")
    print(f"target, {', '.join(recipes)} side by side: {out / 'demo.png'}")
    return OK
