"""`Studio`: the object that a user holds. It draws, inverts and reenacts.

Legend: N images, C channels, R side of the image.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from facsimile import checkpoints, data, metrics
from facsimile.checkpoints import EncoderSet
from facsimile.metrics import Perceptual
from facsimile.refine import DONE, NOT_FINITE, Recipe, RefineResult, Step, recipes, refine
from facsimile.stylegan import Discriminator, Generator, Latents

from .reenact import reenactment
from .reenactment import Driver, Reenactment
from .result import Result, join
from .starts import Start, decide, one_hot

Photo = str | Path | Image.Image


def load(
    generator: str | Path = "faces",
    *,
    perceptual: str = "auto",
    perceptual_weights: str | Path | None = None,
    encoders: str | Path | Sequence[str | Path] = (),
    device: str = "auto",
) -> "Studio":
    """A studio with a generator: a bundled name, a file, or a folder.

    perceptual: the perceptual term of refinement: "auto", "lpips-vgg", "discriminator", .. (see
    `metrics.build_perceptual`). perceptual_weights: a local file of its network's weights. encoders: files,
    or folders of runs, in the place of those beside the generator.
    device: "auto", "cpu", "cuda", "mps".
    """
    device = pick_device(device)
    found = checkpoints.find(generator, device, encoders)
    weights = None if perceptual_weights is None else Path(perceptual_weights)
    chosen = metrics.build_perceptual(perceptual, found.discriminator, weights)
    return Studio(
        found.generator,
        discriminator=found.discriminator,
        perceptual=None if chosen is None else chosen.to(device),
        encoders=found.encoders,
        name=found.name,
    )


def pick_device(name: str) -> torch.device:
    """ "auto" is a GPU where there is one. ValueError where the named one is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, found in there.items() if found), "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'"{name}" is no device; choose auto, cpu, cuda, cuda:1 or mps') from error
    if not there.get(device.type, True):
        raise ValueError(f'this machine has no "{name}"; choose --device cpu')
    return device


class Studio:
    """A generator, and what inverts photos into it."""

    def __init__(
        self,
        generator: Generator,
        *,
        discriminator: Discriminator | None = None,
        perceptual: Perceptual | None = None,
        encoders: EncoderSet | None = None,
        name: str = "",
    ):
        self.generator, self.discriminator = generator, discriminator
        self.encoders = encoders or EncoderSet(generator)
        self.perceptual, self.name = perceptual, name
        self._detector: data.FaceDetector | None = None

    @property
    def device(self) -> torch.device:
        return self.generator.device

    def recipe(self, recipe: str | Recipe, steps: int | None = None) -> Recipe:
        """A recipe by name, fitted to this studio: its perceptual term, and the number of steps."""
        if isinstance(recipe, str):
            recipe = recipes.get(recipe)
            if self.perceptual is None:
                recipe = recipe.with_weight("perceptual", 0)
            elif self.perceptual.name.startswith("vgg16"):
                # Image2StyleGAN weighs its raw VGG features by 1; they are larger than LPIPS.
                recipe = recipe.with_weight("perceptual", 1)
        return recipe if steps is None else recipe.with_steps(steps)

    def start(self, recipe: Recipe, start: str | None = None) -> Start:
        """How an inversion by this recipe starts; its note says so in a sentence.

        start: see `invert`. Raises ValueError where an encoder is needed and there is none to use.
        """
        return decide(recipe, start, self.encoders)

    def detector(self) -> data.FaceDetector:
        """What finds faces; made when it is first needed."""
        self._detector = self._detector or data.FaceDetector()
        return self._detector

    def targets(self, photo: Photo, *, align: bool = True, face: str = "largest") -> Tensor:
        """The face or faces of a photo as targets (N, C, R, R) in [-1, 1], on the CPU.

        align: find the face and crop it as FFHQ does; else the photo is such a crop already.
        Raises FileNotFoundError or data.PhotoError.
        """
        photo = data.to_rgb(photo) if isinstance(photo, Image.Image) else data.read_photo(photo)
        side = self.generator.resolution
        if align:
            found = data.align_faces(photo, side, self.detector(), which=face)
            faces = [aligned.image for aligned in found]
        else:
            faces = [data.fit_square(photo, side)]
        images = torch.stack([data.to_tensor(face) for face in faces])
        return with_channels(images, self.generator.img_channels)

    def invert(
        self,
        photos: Photo | Tensor | Iterable[Photo],
        *,
        recipe: str | Recipe = "f/z+",
        steps: int | None = None,
        seed: int = 0,
        batch: int = 8,
        start: str | None = None,
        label: int | None = None,
        align: bool = True,
        face: str = "largest",
        callback: Callable[[Step], None] | None = None,
        state: dict | None = None,
        names: Sequence[str] | None = None,
    ) -> Result:
        """Find the latents that redraw photos: paths, PIL images, or aligned targets (N, C, R, R).

        recipe: see `refine.recipes`; steps: of its first phase, the others in proportion. seed: of
        random starts. batch: images refined at once; the result changes by rounding alone.
        start: "mean", "random" or "encoder" in place of the recipe's own: an encoder's guess where
        there is one for it, else the space's own. label: the class, from 0 on, that a
        conditional generator is to draw. callback, state: see `refine.refine`; a state belongs to a
        single batch. names: of the folders that `Result.save` writes.
        Raises FileNotFoundError or data.PhotoError for a photo that cannot be used.
        """
        recipe = self.recipe(recipe, steps)
        self._check_label(recipe, label)
        begin = self.start(recipe, start)
        targets, found = self._all_targets(photos, align, face)
        names = list(names or found)
        parts = []
        for index in range(0, len(targets), batch):
            some, whose = targets[index : index + batch], names[index : index + batch]
            parts.append(self._invert_batch(some, whose, begin, seed, label, callback, state))
        return parts[0] if len(parts) == 1 else join(parts)

    def _all_targets(self, photos, align: bool, face: str) -> tuple[Tensor, list[str]]:
        if isinstance(photos, Tensor):
            return photos, [f"image{i}" for i in range(len(photos))]
        photos = [photos] if isinstance(photos, Photo) else list(photos)
        if not photos:
            raise ValueError("there is no photo to invert; pass paths, PIL images or a tensor")
        targets, names = [], []
        for number, photo in enumerate(photos):
            stem = f"image{number}" if isinstance(photo, Image.Image) else Path(photo).stem
            faces = self.targets(photo, align=align, face=face)
            targets.append(faces)
            names += [stem if i == 0 else f"{stem}-face{i + 1}" for i in range(len(faces))]
        return torch.cat(targets), names

    def _check_label(self, recipe: Recipe, label: int | None) -> None:
        count = self.generator.c_dim
        if label is None:
            if count and recipe.space.removeprefix("f/") in ("z", "z+"):
                raise ValueError(
                    f"this generator draws {count} classes, and a code in Z is of one of them; "
                    f"pass its label, 0 to {count - 1}"
                )
        elif not 0 <= label < count:
            wants = f"one from 0 to {count - 1}" if count else "none, as it has no classes"
            raise ValueError(f"got the label {label}; this generator takes {wants}")

    def _invert_batch(
        self,
        targets: Tensor,
        names: list[str],
        start: Start,
        seed: int,
        label: int | None,
        callback: Callable[[Step], None] | None,
        state: dict | None,
    ) -> Result:
        began = time.perf_counter()
        targets = targets.to(self.device, self.generator.dtype)
        c = one_hot(label, self.generator.c_dim, targets)
        first = start.latents(self.generator, targets, seed, c)
        if start.recipe.steps:
            refined = refine(
                self.generator,
                first,
                targets,
                start.recipe,
                perceptual=self.perceptual,
                encoder=None if start.encoder is None else start.encoder.network,
                callback=callback,
                state=state,
            )
        else:
            refined = _unrefined(first)
        with torch.no_grad():
            images = refined.latents.draw(self.generator).clamp(-1, 1)
            known = {} if self.perceptual is None else {self.perceptual.name: self.perceptual}
            scores = metrics.score(images, targets, known)
            metric_descriptions = metrics.metric_descriptions(scores, known) | {"stray": STRAY}
            scores["stray"] = refined.latents.deviation(self.generator)
        return Result(
            names=names,
            targets=targets.cpu(),
            images=images.cpu(),
            latents=refined.latents.to("cpu"),
            scores={name: values.tolist() for name, values in scores.items()},
            metric_descriptions=metric_descriptions,
            history={name: values.cpu() for name, values in refined.history.items()},
            status=refined.status,
            steps=refined.steps,
            seconds=(time.perf_counter() - began) / len(targets),
            settings=self._settings(start, seed, label),
        )

    def reenact(self, source: Photo, driver: str | Path | Driver, **options) -> Reenactment:
        """The face of `source`, a photo or a latents file, with the landmarks of `driver`: a video,
        a folder of photos, a photo, a landmarks file, or its own moved as "yaw:20" or
        "yaw:-20,20,0" says, see `facsimile.scripted`; or what `facsimile.reenact.find_driver` made
        of it, which serves many sources. It is drawn when it is saved.

        relative: move the source's landmarks as the driver's do since its first face; False: take
        them over; None: that for a single pose only. smoothing: seconds, see `editing.OneEuro`.
        refine: steps for the source's code. frames: of a morph to a single pose. landmarks:
        "auto", "fan", "small" or a Landmarker. align, batch: see `invert`. keep_own: the source's
        own landmarks leave its code as it is. fps: in the place of that of a driver's path.
        Raises FileNotFoundError or ValueError for what cannot be used.
        """
        return reenactment(self, source, driver, **options)

    def settings(
        self, recipe: Recipe, seed: int, start: str | None, label: int | None = None
    ) -> dict:
        """What decides the result of an inversion, beside the photo."""
        return self._settings(self.start(recipe, start), seed, label)

    def _settings(self, start: Start, seed: int, label: int | None) -> dict:
        recipe = start.recipe
        known = {} if label is None else {"label": label}
        return known | {
            "generator": self.name,
            "fingerprint": self.generator.fingerprint,
            "recipe": recipe.name,
            "steps": [phase.steps for phase in recipe.phases],
            "lr": [variable.lr for phase in recipe.phases for variable in phase.variables],
            "patience": recipe.phases[0].patience,
            "layer": recipe.layer,
            **start.settings(),
            "truncation": [recipe.truncation, recipe.cutoff],
            "seed": seed,
            "perceptual": "none" if self.perceptual is None else self.perceptual.name,
            "perceptual_note": "" if self.perceptual is None else self.perceptual.note,
        }


STRAY = (
    "how far the code is from the generator's own samples: root mean square of its whitened "
    "coordinates (1 is typical of samples); in Z spaces the relative distance from the sphere (0)"
)


def with_channels(images: Tensor, channels: int) -> Tensor:
    """RGB images (N, 3, H, W) for a generator of grey (1), RGB (3) or RGBA (4) images."""
    if channels == 3:
        return images
    if channels == 1:
        # Rec. 601, what PIL's convert("L") takes.
        weights = torch.tensor([0.299, 0.587, 0.114]).to(images)
        return (images * weights[:, None, None]).sum(1, keepdim=True)
    if channels == 4:
        return torch.cat([images, torch.ones_like(images[:, :1])], 1)
    raise ValueError(
        f"this generator makes images of {channels} channels, and photos have 3; "
        "pass targets of your own as a tensor"
    )


def _unrefined(start: Latents) -> RefineResult:
    """What an encoder guessed, or the mean is, as refinement of no steps leaves it."""
    start = start.retract().detach()
    finite = [x.isfinite().flatten(1).all(1) for x in start.tensors().values()]
    status = [DONE if good else NOT_FINITE for good in torch.stack(finite).all(0).tolist()]
    return RefineResult(start, {}, status, [0] * len(start))
