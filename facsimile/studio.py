"""`Studio`: the object that a user holds. It inverts, edits and reenacts.

Legend: N images, C channels, R resolution of the generator.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from PIL import Image
from torch import Tensor

from facsimile import checkpoints, data, editing, metrics
from facsimile.checkpoints import EncoderSet
from facsimile.editing.landmark_motion import SMOOTHING
from facsimile.editing.local_edit import EditInputs
from facsimile.metrics import IdentityNetwork, Perceptual
from facsimile.refine import Recipe, Step
from facsimile.stylegan import Discriminator, Generator, Latents, PhotoCrop

from .devices import pick_device
from .edit_result import (
    EditResult,
    concatenate_latents,
    image_names,
    number_names,
    number_solutions,
    with_places,
)
from .feature_edits import find_transport
from .identity import FacePresence, Identity
from .inputs import check_names, number_duplicates
from .inversion import Inverter
from .landmarks import load_landmarker
from .local_edits import edit_inputs
from .plan import Init, InversionPlan, further_networks, make_plan
from .plan_options import PlanOptions
from .precision import Precision
from .recipe_options import adapt_recipe
from .reenactment import (
    Driver,
    Reenactment,
    SourceFinder,
    find_driver,
    is_latents_file,
    pick_encoder,
    pick_source_recipe,
    prepare_reenactment,
    takes_codes,
)
from .result import Result, concatenate
from .targets import Faces, Photo, TargetReader

if TYPE_CHECKING:
    from typing_extensions import Unpack

SOURCE_STEPS = 100
"""Of the refinement of a reenactment's source, unless others are asked for."""


def load(
    generator: str | Path = "faces",
    *,
    perceptual: str = "auto",
    perceptual_weights: str | Path | None = None,
    encoders: str | Path | Sequence[str | Path] = (),
    device: str = "auto",
) -> "Studio":
    """A studio with a generator: a bundled name, a file, or a folder.

    perceptual: the perceptual metric that refinement minimises: "auto", "lpips-vgg",
    "discriminator", .. (see `metrics.build_perceptual`). perceptual_weights: a local file of its
    network's weights. encoders: files, or folders of runs, instead of those beside the generator.
    device: "auto", "cpu", "cuda", "mps". Raises FileNotFoundError or ValueError.
    """
    torch_device = pick_device(device)
    checkpoint = checkpoints.find(generator, torch_device, encoders)
    weights = None if perceptual_weights is None else Path(perceptual_weights)
    metric = metrics.build_perceptual(perceptual, checkpoint.discriminator, weights)
    return Studio(
        checkpoint.generator,
        discriminator=checkpoint.discriminator,
        perceptual=None if metric is None else metric.to(torch_device),
        encoders=checkpoint.encoders,
        name=checkpoint.name,
    )


class Studio:
    """A generator with the networks that invert photos into it."""

    def __init__(
        self,
        generator: Generator,
        *,
        discriminator: Discriminator | None = None,
        perceptual: Perceptual | None = None,
        encoders: EncoderSet | None = None,
        networks: Mapping[str, Callable] | None = None,
        name: str = "",
    ):
        """networks: further networks that terms of refinement ask for by name, such as "identity".
        name: of the generator, for messages and files."""
        self.generator, self.discriminator = generator, discriminator
        self.encoders = encoders or EncoderSet(generator)
        self.perceptual, self.name = perceptual, name
        self.networks = dict(networks or {})
        self._identity: dict[str, IdentityNetwork | None] = {}
        self._shows_face: FacePresence | None = None
        self.target_reader = TargetReader(generator.resolution, generator.img_channels)

    def __repr__(self) -> str:
        return f'Studio("{self.name}", {self.generator.resolution} px, on {self.device})'

    @property
    def device(self) -> torch.device:
        return self.generator.device

    def targets(self, photo: Photo, *, align: bool = True, face: Faces = "largest") -> Tensor:
        """The faces of a photo as targets (N, C, R, R) in [-1, 1]; see `TargetReader.read`."""
        return self.target_reader.read(photo, align=align, face=face)

    def plan(
        self,
        recipe: str | Recipe = "f/z+",
        *,
        steps: int | None = None,
        exact: bool = False,
        lr: float = 1.0,
        patience: int | None = None,
        layer: str | None = None,
        init: Init | Path | None = None,
        seed: int = 0,
        label: int | None = None,
        align: bool = True,
        face: Faces = "largest",
        aspect: str | None = None,
        identity: Identity = "auto",
        precision: Precision | None = None,
    ) -> InversionPlan:
        """Decide what an inversion will do; the keywords are those of `PlanOptions`.

        print(plan.describe()) says it in words. Raises ValueError for what cannot be done, such as
        an encoder that is asked for and does not exist.
        """
        return make_plan(
            self.generator,
            self.name,
            self.encoders,
            self.perceptual,
            self.networks,
            self.identity_network("auto" if identity == "off" else identity),
            adapt_recipe(recipe, steps, exact, lr, patience, layer),
            init=init,
            seed=seed,
            label=label,
            align=align,
            face=face,
            identity_term=identity != "off",
            aspect=aspect,
            precision=precision,
        )

    def identity_network(self, name: str = "auto") -> IdentityNetwork | None:
        """The network that recognises people; see `metrics.build_identity`. Loaded once.

        "auto": `networks["identity"]`, if the studio was given one. None, if the generator makes no
        grey, RGB or RGBA pictures.
        """
        given = cast(IdentityNetwork | None, self.networks.get("identity"))
        if given is not None and name in ("auto", given.name):
            return given
        if name == "auto" and self.generator.img_channels not in metrics.PICTURE_CHANNELS:
            return None
        if name not in self._identity:
            network = metrics.build_identity(name)
            self._identity[name] = None if network is None else network.to(self.device)
        return self._identity[name]

    def shows_face(self, images: Tensor) -> Tensor:
        """(N,) bool of images (N, C, R, R) in [-1, 1]; see `FacePresence`."""
        if self._shows_face is None:
            self._shows_face = FacePresence(self.device)
        return self._shows_face(images)

    def inverter(self, plan: InversionPlan) -> Inverter:
        """The plan with this studio's networks; ValueError for a plan with others."""
        encoder = None if plan.encoder is None else self.encoders.get(plan.encoder.kind)
        perceptual = "none" if self.perceptual is None else self.perceptual.name
        networks_of_both = {
            "generator": (plan.fingerprint, self.generator.fingerprint),
            "perceptual metric": (plan.perceptual, perceptual),
        }
        if plan.encoder is not None and encoder is not None:
            key = f"{plan.encoder.kind} encoder"
            networks_of_both[key] = (plan.encoder.fingerprint, encoder.fingerprint)
        networks = dict(self.networks)
        if plan.identity != "none":
            networks["identity"] = cast(Callable, self.identity_network(plan.identity))
            networks.setdefault("shows_face", self.shows_face)
        for name, present in further_networks(plan.recipe, networks).items():
            networks_of_both[f"{name} network"] = (plan.networks[name], present)
        for name, (planned, present) in networks_of_both.items():
            if planned != present:
                raise ValueError(
                    f"this plan was made for the {name} {planned}, and this studio's is {present}; "
                    "make the plan with this studio"
                )
        network = None if encoder is None else encoder.network
        return Inverter(plan, self.generator, self.perceptual, network, networks)

    def invert(
        self,
        photos: Photo | Tensor | Iterable[Photo],
        plan: InversionPlan | None = None,
        *,
        batch: int = 8,
        callback: Callable[[Step], None] | None = None,
        state: dict | None = None,
        names: Sequence[str] | None = None,
        **options: "Unpack[PlanOptions]",
    ) -> Result:
        """Find the latents that reproduce photos: paths, PIL images, or aligned targets
        (N, C, R, R) in [-1, 1].

        plan: from `plan`; without one, `options` are passed to `plan`. batch: images refined at
        once; the result changes by rounding alone. callback, state: see `refine.refine`; a state
        belongs to a single batch. names: of the folders that `Result.save` writes, one for each
        image. Raises FileNotFoundError or data.PhotoError for a photo that cannot be used, and
        ValueError for options or names that do not fit.
        """
        if plan is not None and options:
            raise ValueError(
                f"got a plan and {', '.join(options)}; pass these to Studio.plan, or no plan"
            )
        inverter = self.inverter(self.plan(**options) if plan is None else plan)
        targets, photo_names, crops = self._all_targets(photos, inverter.plan)
        names = photo_names if names is None else check_names(list(names), len(targets))
        return concatenate(
            [
                inverter.invert(
                    targets[i : i + batch], names[i : i + batch], callback=callback, state=state
                )
                for i in range(0, len(targets), batch)
            ]
        ).with_crops(crops)

    def _all_targets(
        self, photos: Photo | Tensor | Iterable[Photo], plan: InversionPlan
    ) -> tuple[Tensor, list[str], tuple[PhotoCrop, ...]]:
        if isinstance(photos, Tensor):
            return photos, [f"image{i}" for i in range(len(photos))], ()
        photos = [photos] if isinstance(photos, Photo) else list(photos)
        if not photos:
            raise ValueError("there is no photo to invert; pass paths, PIL images or a tensor")
        targets, stems = [], []
        crops: list[PhotoCrop] = []
        for number, photo in enumerate(photos):
            stem = f"image{number}" if isinstance(photo, Image.Image) else Path(photo).stem
            faces, places = self.target_reader.read_crops(photo, **plan.reading)
            targets.append(faces)
            crops += places
            stems += [stem if i == 0 else f"{stem}-face{i + 1}" for i in range(len(faces))]
        return torch.cat(targets), number_duplicates(stems), tuple(crops)

    def edit(
        self,
        inputs: Latents | Result | Sequence[Latents | Result],
        name: str,
        *,
        targets: Sequence[Tensor | None] | None = None,
        callback: Callable[[Step], None] | None = None,
        **parameters: editing.registry.Value,
    ) -> EditResult:
        """Edit latents, or the latents of results, by the edit called `name`; see `editing.EDITS`.

        inputs: for an edit of one input any number of images, all of the same kind; for an edit of
        several inputs one image for each, as (first, second) or as latents of two images.
        targets: for an edit that refines, the pictures (n, C, R, R) that each of the inputs stands
        for; None: a result's own, and for latents what they synthesize.
        callback: of such an edit, see `refine.refine`.
        parameters: the edit's own, see `facsimile edit NAME --help`.
        Features of f/ latents follow their codes if there are a feature editor and an in-domain
        encoder; the result's `note` says whether they do.
        Raises ValueError for inputs and parameters that the edit does not take.
        """
        edit = editing.get(name)
        sequence = [inputs] if isinstance(inputs, Latents | Result) else list(inputs)
        latents = [x.latents if isinstance(x, Result) else x for x in sequence]
        names = [name for x in sequence for name in image_names(x)]
        latents = [x.to(self.device, self.generator.dtype) for x in latents]
        images = [one[i] for one in latents for i in range(len(one))]
        transport, note = find_transport(self.generator, self.encoders, edit, images)
        given = [concatenate_latents(latents)] if edit.inputs == 1 else images
        inputs_of_edit, mask, background = None, None, None
        if edit.refines:
            if targets is None:
                targets = [x.targets if isinstance(x, Result) else None for x in sequence]
            inputs_of_edit, note = self._edit_inputs(edit, latents, targets, callback)
        edited = edit(
            self.generator, *given, transport=transport, inputs=inputs_of_edit, **parameters
        )
        if not isinstance(edited, Latents):
            mask, background = edited.mask.cpu(), edited.background
            background = None if background is None else background.cpu()
            names = number_solutions(names, edited.solutions)
            edited = edited.latents
        edited = with_places(edited, images if edit.inputs == 1 else images[:1])
        if edit.inputs > 1:
            names = number_names(len(edited))
        return EditResult(
            generator=self.generator,
            edit=edit.name,
            parameters=edit.complete(parameters),
            names=names,
            before=images,
            latents=edited,
            note=note,
            identity=self.identity_network(),
            mask=mask,
            background=background,
        )

    def _edit_inputs(
        self,
        edit: editing.Edit,
        latents: Sequence[Latents],
        targets: Sequence[Tensor | None],
        callback: Callable[[Step], None] | None,
    ) -> tuple[EditInputs, str]:
        critic = self.discriminator
        return edit_inputs(
            edit, self.generator, latents, targets, self.perceptual, critic, callback
        )

    def driver(
        self,
        driver: str | Path,
        landmarks: str | data.Landmarker = "auto",
        *,
        align: bool = True,
        fps: float | None = None,
        exclude: str | Path | None = None,
        face: str = "largest",
    ) -> Driver:
        """Open a driver, which may drive any number of sources; see `reenact`.

        exclude: a folder whose photos are not frames of the driver. face: the person who is
        followed; see `data.face_choice`.
        """
        return find_driver(
            driver,
            self._landmarker(landmarks),
            self.target_reader.detector if align else None,
            self.generator.resolution,
            self.device,
            fps,
            exclude,
            face,
            self.identity_network() if align else None,
        )

    def reenact(
        self,
        source: Photo,
        driver: str | Path | Driver,
        *,
        relative: bool | None = None,
        smoothing: float = SMOOTHING,
        source_steps: int = SOURCE_STEPS,
        frames: int | None = None,
        landmarks: str | data.Landmarker = "auto",
        align: bool = True,
        face: str = "largest",
        source_face: str = "largest",
        preserve_source: bool = True,
        fps: float | None = None,
        batch: int = 8,
        callback: Callable[[Step], None] | None = None,
    ) -> Reenactment:
        """The face of `source` with the landmarks of `driver`, synthesized when it is saved.

        Args:
            source: a photo, or a latents file of one image, in any space.
            driver: a video, a folder of photos, a photo, a landmarks file, a motion such as
                "yaw:20" or "yaw:-20,20,0" (see `reenactment.scripted`), or what `driver` opened.
            relative: True: the source's landmarks move as the driver's do since its first face;
                False: they become the driver's; None: False for a single pose, else True.
            smoothing: seconds, see `editing.landmark_motion.OneEuro`.
            source_steps: steps that refine the code of a photo; 0: the encoder's prediction.
            frames: number of frames of a morph to a single pose.
            landmarks: "auto", "fan", "small" or a Landmarker.
            align: find faces and crop them as FFHQ does; False: they are such crops already.
            face: which person of a driver given as a path; source_face: of the source. One of
                each; see `data.face_choice`.
            preserve_source: the source's own landmarks reproduce it exactly.
            fps: frames per second, instead of the driver's; for a driver given as a path. A video
                keeps its time.
            batch: frames synthesized at once; halved where memory does not suffice.
            callback: called with every step of the photo's refinement; see `refine.refine`.

        Raises FileNotFoundError or ValueError for what cannot be used.
        """
        landmarker = self._landmarker(landmarks)
        encoder = pick_encoder(self.encoders)
        inverter = None
        if takes_codes(encoder) and not is_latents_file(source):
            recipe = pick_source_recipe(self.encoders)
            plan = self.plan(
                recipe, steps=source_steps, init="encoder", align=align, identity="off"
            )
            inverter = self.inverter(plan)
        if isinstance(driver, str | Path):
            driver = self.driver(driver, landmarker, align=align, fps=fps, face=face)
        return prepare_reenactment(
            self.generator,
            self.name,
            encoder,
            source,
            driver,
            find_source=SourceFinder(
                generator=self.generator,
                encoders=self.encoders,
                landmarker=landmarker,
                reader=self.target_reader,
                takes_codes=takes_codes(encoder),
                inverter=inverter,
                align=align,
                face=source_face,
                callback=callback,
            ),
            identity=self.identity_network(),
            relative=relative,
            smoothing=smoothing,
            frames=frames,
            preserve_source=preserve_source,
            batch=batch,
        )

    def _landmarker(self, landmarks: str | data.Landmarker) -> data.Landmarker:
        if not isinstance(landmarks, str):
            return landmarks
        return load_landmarker(landmarks, None, self.device)
