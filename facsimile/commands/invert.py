"""`facsimile invert`: find the latents that reproduce photos."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from facsimile import studio as studios
from facsimile.exit_status import OK, SOME_FAILED
from facsimile.inputs import photos_for
from facsimile.jobs import Job
from facsimile.metrics import PERCEPTUAL_METRICS
from facsimile.precision import Precision
from facsimile.recipe_options import EXACT_PSNR
from facsimile.refine import REACHED
from facsimile.start import Init, read_init
from facsimile.summary import mean_scores

from .options import FaceText, PasteBackOptions

WORDS = {
    "mse": "MSE {:.4f}",
    "psnr": "PSNR {:.1f} dB",
    "ssim": "SSIM {:.3f}",
    "discriminator": "perceptual distance {:.4f}",
    "lpips-vgg": "LPIPS {:.4f}",
    "identity_distance": "identity distance {:.2f}",
    "identity_cosine": "cosine {:.3f}",
    "same_person": "same person {:.0%}",
    "deviation": "deviation of the code {:.2f}",
}
"""How the mean of a score is printed."""
NAMED = 5
"""Photos of a kind that are named one by one."""


@dataclass(frozen=True, kw_only=True)
class Invert(PasteBackOptions):
    """Find the latents that reproduce photos.

    An encoder makes a first guess, which is refined until it hardly improves. Writes OUT/NAME/ for
    every photo, with target.png, reconstruction.png, latents.safetensors and scores.json, and after
    refinement comparison.png and loss.png; for the whole folder OUT/overview.png and
    OUT/summary.json. Run the same command again to continue after a stop: finished photos are
    skipped. Results of other settings stay, and the new ones are written beside them.

    One photo: facsimile invert me.jpg --out out

    As fast as possible, by the encoder alone: facsimile invert holiday/ --out out --fast

    Nearly exactly, with the noise maps: facsimile invert holiday/ --out out --exact

    Into the whole photo again: facsimile invert me.jpg --out out --paste-back

    Aligned faces, another generator: facsimile invert aligned.zip --out out --no-align --generator
    my-generator.safetensors
    """

    photos: tyro.conf.Positional[list[Path]]
    """Photos, or folders or zips of photos."""
    out: Path
    """Folder for the results."""
    fast: bool = False
    """The encoder alone: the same as --steps 0 --init encoder."""
    exact: bool = False
    """After the code refine the noise maps too, until the picture is within 40 dB of the photo, or
    to the recipe's number of steps."""
    replace: bool = False
    """Put results in the place of those that other settings have made, instead of beside them."""
    generator: str = "faces"
    """A bundled name, a generator's file, or a folder with generator.safetensors."""
    encoder: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """An encoder's file, or the folder of a training run; once for each kind. Default: the files
    KIND.safetensors beside the generator."""
    recipe: str = "f/z+"
    """What is optimised: z, z+, w, w+, p_n+, s, f/w+, f/p_n+, f/s, f/z, f/z+; in-domain (W+ close
    to its encoder); followed by the noise maps with "w+ +noise"."""
    steps: int | None = None
    """Steps of the code, exactly so many; those of the noise maps are in proportion. Default: until
    a photo is done, at most the recipe's own. 0: no refinement, the initial latents; thousands of
    photos stream through."""
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
    init: Annotated[str | None, tyro.conf.arg(metavar="{mean,random,encoder,FILE}")] = None
    """Initial latents. Default: an encoder's prediction in f/ recipes (the feature), w+ and
    in-domain if there is such an encoder, else random in Z spaces and the mean in the others. A
    file: latents.safetensors, or the codes of NVIDIA's projector, e4e, pSp, PTI or rosinality's
    (.npz, .pt, .npy); every photo starts from the last latents in it."""
    label: int | None = None
    """Class of a conditional generator, from 0 on."""
    layer: str | None = None
    """Convolution whose output is the feature of f/ recipes, e.g. b16.conv0. Default: the feature
    encoder's, else the first of 16 pixels, or of an eighth of the image's side."""
    lr: float = 1.0
    """Factor of the papers' learning rates. About 3 gets further in a few hundred steps."""
    patience: int | None = None
    """Stop an image when its loss has not fallen by 0.1 % in so many steps, instead of when it is
    done by this program's own measure."""
    precision: Annotated[Precision | None, tyro.conf.arg(metavar="{fp32,tf32,bf16}")] = None
    """In what networks compute. bf16: the encoder and the generator in 16 bits, which GPUs do
    faster. Default: as PyTorch does."""
    align: bool = True
    """Find the face and crop it as FFHQ does. --no-align: the photos are such crops already."""
    aspect: str | None = None
    """For a square network of pictures that are not square, such as cars: their width to height, as
    4:3. The middle of the photo that has it fills the square from side to side; the rest is black
    and left aside. No face is looked for."""
    face: FaceText = "largest"
    """Which faces of a photo with several: largest, left, right, all, a number (1 is the largest),
    or a point of the face as X,Y in pixels."""

    def run(self) -> int:
        steps, init = self._steps_and_init()
        photos = photos_for(self.photos, self.out)
        perceptual = self.perceptual
        if perceptual == "auto" and steps == 0:
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
            steps=steps,
            exact=self.exact,
            lr=self.lr,
            patience=self.patience,
            layer=self.layer,
            init=init,
            seed=self.seed,
            label=self.label,
            align=self.align,
            face=self.face,
            aspect=self.aspect,
            identity=self.identity,
            precision=self.precision,
        )
        print(plan.describe())
        inverter, reader = studio.inverter(plan), studio.target_reader
        job = Job(inverter, reader, photos, self.out, self.batch, self.replace, self.paste_options)
        job.run(quiet=self.quiet)
        return report(job)

    def _steps_and_init(self) -> tuple[int | None, Init | Path | None]:
        """What --fast stands for; ValueError beside what contradicts it."""
        if not self.fast:
            return self.steps, read_init(self.init)
        if self.exact or self.steps or self.init not in (None, "encoder"):
            other = "--exact" if self.exact else f"--steps {self.steps}" if self.steps else "--init"
            raise ValueError(f"--fast is the encoder alone, and {other} asks for something else")
        return 0, "encoder"


def report(job: Job) -> int:
    """Print what became of the photos; returns the exit status.

    Only the last of several processes does so; a launcher would end the others for a failure.
    """
    if not job.last:
        print(f"{len(job.done)} inverted; other processes go on: {job.out}")
        return OK
    records = job.records()
    if records:
        print(_means(records))
    for line in [*_endings(records), *_neighbours(job), *_lost_details(job)]:
        print(line)
    skipped = f", {len(job.elsewhere)} by other processes" if job.elsewhere else ""
    skipped += f", {len(job.skipped)} done before" if job.skipped else ""
    overview = job.out / "overview.png"
    print(f"{len(job.done)} inverted{skipped}, {len(job.failed)} failed: {overview}")
    for reason in job.failed.values():
        print(f"  {reason}", file=sys.stderr)
    return SOME_FAILED if job.failed else OK


def _means(records: Sequence[dict]) -> str:
    """The mean scores in words; scores.json explains each."""
    words = [
        WORDS.get(name, f"{name} {{:.4g}}").format(value)
        for name, value in mean_scores(records).items()
    ]
    return f"{'mean: ' * (len(records) > 1)}{', '.join(words)}"


def _endings(records: Sequence[dict]) -> list[str]:
    """How the photos of an exact inversion ended: at the goal or at the cap."""
    if not any(phase["goal"] for x in records for phase in x["plan"]["recipe"]["phases"]):
        return []
    reached = sum(record["status"] == REACHED for record in records)
    rest = [record for record in records if record["status"] != REACHED]
    lines = [f"{reached} of {len(records)} reached {EXACT_PSNR:.0f} dB"]
    for record in rest[:NAMED]:
        psnr, steps = record["scores"]["psnr"], record["steps"]
        lines.append(f"  {record['name']} stopped at its cap, {steps} steps, with {psnr:.1f} dB")
    return lines


def _neighbours(job: Job) -> list[str]:
    """Which new results stand beside others, and which went on from others."""
    lines = []
    for new, old in list(job.started_from.items())[:NAMED]:
        lines.append(f"{new}: refined from {old}")
    made = {new: old for new, old in job.beside.items() if new in job.done}
    if made:
        pairs = ", ".join(f"{new} beside {old}" for new, old in list(made.items())[:NAMED])
        more = f" and {len(made) - NAMED} more" if len(made) > NAMED else ""
        lines.append(
            f"results that other settings have made stay: {pairs}{more} "
            "(--replace puts the new ones in their place)"
        )
    return lines


def _lost_details(job: Job) -> list[str]:
    """What the generator's size has lost in photos into which results were pasted."""
    return [f"{name}: {text}" for name, text in list(job.lost_detail.items())[:NAMED]]
