"""`facsimile invert`: find the latents that reproduce photos."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from facsimile import studio as studios
from facsimile.exit_status import OK, SOME_FAILED
from facsimile.inputs import photos_for
from facsimile.jobs import Job
from facsimile.metrics import PERCEPTUAL_METRICS
from facsimile.summary import mean_scores


@dataclass(frozen=True, kw_only=True)
class Invert:
    """Find the latents that reproduce photos.

    Writes OUT/NAME/ for every photo, with target.png, reconstruction.png, latents.safetensors and
    scores.json, and unless --steps is 0 comparison.png and loss.png; for the whole run
    OUT/overview.png and OUT/summary.json. Run the same command again to continue after a stop:
    finished photos are skipped.

    One photo: facsimile invert me.jpg --out out

    A folder, nearly exactly: facsimile invert holiday/ --out out --recipe "w+ +noise"

    Aligned faces, another generator: facsimile invert aligned/ --out out --no-align --generator
    my-generator.safetensors

    As fast as possible, by an encoder alone: facsimile invert holiday/ --out out --steps 0 --init
    encoder
    """

    photos: tyro.conf.Positional[list[Path]]
    """Photos, or folders of photos."""
    out: Path
    """Folder for the results."""
    generator: str = "faces"
    """A bundled name, a generator's file, or a folder with generator.safetensors."""
    encoder: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """An encoder's file, or the folder of a training run; once for each kind. Default: the files
    KIND.safetensors beside the generator."""
    recipe: str = "f/z+"
    """What is optimised: z, z+, w, w+, p_n+, s, f/w+, f/p_n+, f/s, f/z, f/z+; in-domain (W+ close
    to its encoder); followed by the noise maps with "w+ +noise"."""
    steps: int | None = None
    """Steps of the code; those of the noise maps are in proportion. Default: the recipe's own.
    0: no refinement, the initial latents; thousands of photos stream through."""
    seed: int = 0
    """Seed of random initial codes (the Z spaces)."""
    batch: int = 8
    """Photos refined at once. It changes the time, and the result by no more than rounding."""
    perceptual: Literal[PERCEPTUAL_METRICS] = "auto"  # type: ignore[valid-type]
    """Perceptual term. auto: LPIPS-VGG if its weights are there or can be fetched, else the
    generator's own discriminator; none if --steps is 0."""
    identity: Literal["auto", "off", "dlib", "facenet"] = "auto"
    """The network that recognises people. It adds the identity term to the recipe, and scores the
    result, where a photo shows a face. auto: dlib's, if its package is installed. off: no term;
    the scores stay."""
    perceptual_weights: Path | None = None
    """Local file of the perceptual network's ImageNet weights (torchvision's names)."""
    init: Literal["mean", "random", "encoder"] | None = None
    """Initial latents. Default: an encoder's prediction in f/ recipes (the feature), w+ and
    in-domain if there is such an encoder, else random in Z spaces and the mean in the others."""
    label: int | None = None
    """Class of a conditional generator, from 0 on."""
    layer: str | None = None
    """Convolution whose output is the feature of f/ recipes, e.g. b16.conv0. Default: the feature
    encoder's, else the first of 16 pixels, or of an eighth of the image's side."""
    lr: float = 1.0
    """Factor of the papers' learning rates. About 3 gets further in a few hundred steps."""
    patience: int | None = None
    """Stop an image early when its loss has not fallen by 0.1 % in so many steps."""
    align: bool = True
    """Find the face and crop it as FFHQ does. --no-align: the photos are such crops already."""
    face: Literal["largest", "all"] = "largest"
    """Which faces of a photo with several."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        photos = photos_for(self.photos, self.out)
        perceptual = self.perceptual
        if perceptual == "auto" and self.steps == 0:
            perceptual = "none"  # scoring would take longer than the prediction
        studio = studios.load(
            self.generator,
            perceptual=perceptual,
            perceptual_weights=self.perceptual_weights,
            encoders=self.encoder,
            device=self.device,
        )
        plan = studio.plan(
            self.recipe,
            steps=self.steps,
            lr=self.lr,
            patience=self.patience,
            layer=self.layer,
            init=self.init,
            seed=self.seed,
            label=self.label,
            align=self.align,
            face=self.face,
            identity=self.identity,
        )
        print(plan.describe())
        job = Job(studio.inverter(plan), studio.target_reader, photos, self.out, self.batch)
        job.run()
        return report(job)


def report(job: Job) -> int:
    """Print what became of the photos; returns the exit status."""
    means = mean_scores(job.records())
    if means:
        print("  ".join(f"{name} {value:.4g}" for name, value in means.items()))
    skipped = f", {len(job.skipped)} done before" if job.skipped else ""
    overview = job.out / "overview.png"
    print(f"{len(job.done)} inverted{skipped}, {len(job.failed)} failed: {overview}")
    for reason in job.failed.values():
        print(f"  {reason}", file=sys.stderr)
    return SOME_FAILED if job.failed else OK
