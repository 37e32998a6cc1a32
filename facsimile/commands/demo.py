"""`facsimile demo`: a photo that comes with scikit-image, inverted by two recipes, and edited."""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from facsimile import data, pictures
from facsimile.exit_status import OK
from facsimile.result import Result
from facsimile.studio import Studio, load
from facsimile.stylegan import init_latents

from .options import ComputeOptions

RECIPES: dict[str, int | None] = {"f/z+": None, "w+ +noise": 200}
"""Recipe -> steps; None: until the photo is done. About half a minute on two cores."""
MOTIONS = ("mouth:closed", "yaw:15", "yaw:-15")
"""Of the reenactment, each a picture."""
MORPH_FRAMES, MORPH_SEED = 6, 21
"""Pictures of the morph, and the number of the sample in which it ends."""


@dataclass(frozen=True, kw_only=True)
class Demo(ComputeOptions):
    """Invert the face of scikit-image's astronaut photo in F/Z+, and in W+ followed by the noise;
    then morph the first into a sample, and move its face.

    Prints a table, and writes OUT/demo.png (photo and reconstructions above the edits) and a folder
    for each recipe.
    """

    out: Path = Path("out/demo")
    """Folder for the results."""

    def run(self) -> int:
        return demo(self.out, RECIPES, self.device)


def recipe_folder(recipe: str) -> str:
    """A folder's name that needs no quotes: "f-z-plus", "w-plus-noise"."""
    words = recipe.replace(" +", "-").replace("+", "-plus").replace("/", "-")
    return words.replace(" ", "")


def demo(out: Path, recipes: dict[str, int | None], device: str = "auto") -> int:
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
    images, folders, results = [target[0]], [], []
    for recipe, steps in recipes.items():
        result = studio.invert(target, studio.plan(recipe, steps=steps), names=["astronaut"])
        folder = result.save(out / recipe_folder(recipe))[0]
        mse, psnr, ssim = (result.scores[name][0] for name in ("mse", "psnr", "ssim"))
        columns = f"{mse:>10.4f}{psnr:>10.2f}{ssim:>8.3f}{result.seconds:>9.1f}"
        print(f"{recipe:<12}{result.steps[0]:>7}{columns}  {folder}")
        images.append(result.images[0])
        results.append(result)
        folders.append(folder)
    images += reenactments(studio, folders[0])
    first = pictures.panels(images, labels=["photo", *recipes, *MOTIONS])
    morph_labels = ["a morph", *[""] * (MORPH_FRAMES - 2), "a sample"]
    second = pictures.panels(morph(studio, results[0]), labels=morph_labels)
    pictures.stacked([first, second]).save(out / "demo.png")
    print(f"the photo, its inversions, a morph and reenactments: {out / 'demo.png'}")
    return OK


def morph(studio: Studio, face: Result) -> list[Tensor]:
    """Pictures (C, R, R) from an inverted face to a sample."""
    generator = studio.generator
    rng = torch.Generator().manual_seed(MORPH_SEED)
    z = torch.randn(1, generator.z_dim, generator=rng).to(studio.device, generator.dtype)
    sample = init_latents(generator, "w+", 1).with_tensors({"code": generator.map(z, None, 0.7)})
    frames = studio.edit([face, sample], "morph", frames=MORPH_FRAMES)
    return list(frames.images)


def reenactments(studio: Studio, folder: Path) -> list[Tensor]:
    """A picture (C, R, R) of an inverted face after each of MOTIONS."""
    latents = folder / "latents.safetensors"
    return [next(iter(studio.reenact(latents, motion))).image for motion in MOTIONS]
