"""What the recipes with landmarks are made of: networks, faces to train on, sheets and scores.

Legend: N images of a place, C channels, R side of the image, L style inputs, D numbers in w,
K = 68 points.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from facsimile.data.landmark_network import FILE
from facsimile.data.landmarks import SmallLandmarker
from facsimile.stylegan import freeze, spaces
from facsimile.stylegan.generator import fingerprint
from facsimile.training import BatchSlice, Distributed

from .difference import DifferenceConfig, DifferenceEncoder
from .difference_settings import LandmarkRun
from .landmark_critics import ConcatCritic, ProjectionCritic
from .landmark_faces import Faces, Photos, look, photos, sampled, with_codes
from .landmark_view import View
from .naive import NaiveConfig, NaiveEncoder
from .recipe import PART, EncoderRecipe


class LandmarkRecipe(EncoderRecipe):
    """The run says which encoder it is; `DifferenceRecipe` has the losses."""

    player = "encoder"
    betas = (0.9, 0.99)

    def __init__(self, run: LandmarkRun, host: Distributed):
        path = run.landmark_weights or host.landmarks
        if path is None:
            raise ValueError(f"no landmark network is bundled here; give a {FILE}")
        self.landmarker = SmallLandmarker(path, host.device)
        self._landmarker_is = fingerprint(self.landmarker.network.state_dict())
        self.landmarker.network.to(run.dtype)
        self.embedder: nn.Module | None = None
        super().__init__(run, host)
        self.trained: Photos | None = None
        self.critic: ProjectionCritic | ConcatCritic | None = None
        self._failed = self._looked = 0
        self.gamma = self._gamma(run.r1)
        if run.adversarial_weight:
            own = self._own_critic(bool(run.data))
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(run.seed)
                concat = run.critic == "concat"
                told = (own,) if concat else (own, *self._widths, run.group)
                made = (ConcatCritic if concat else ProjectionCritic)(*told)
            self.critic = self._placed(made)
            self.players = (self._player("critic", self.critic), *self.players)

    def _find(self) -> Any:
        """With the in-domain encoder, where one is needed."""
        run = self.run
        if not run.embeds:
            return super()._find()
        named = () if run.in_domain is None else (run.in_domain,)
        found = self.host.find(run.generator, encoders=named)
        if not found.encoders.has("in-domain"):
            raise ValueError(
                "an in-domain encoder is needed, and there is none: name one with --in-domain, "
                f"trained by: train.py in-domain --generator {run.generator}; or go without with "
                "--embed true --cycle-input latent, on samples alone"
            )
        held = found.encoders.get("in-domain")
        self._embedder_is = held.fingerprint
        self.embedder = freeze(held.network).to(self.device, run.dtype)
        return found

    @property
    def _widths(self) -> tuple[int, int]:
        return self.run.width, self.run.max_width or 16 * self.run.width

    def _network(self) -> nn.Module:
        run, told = self.run, (*self._widths, self.run.resolution)
        if run.variant == "naive":
            return NaiveEncoder(NaiveConfig.of(self.generator, *told), run.group)
        fused = {"norm": run.norm, "hidden": run.hidden}
        config = DifferenceConfig.of(self.generator, run.variant, *told, **fused)
        return DifferenceEncoder(config, run.group)

    def _belongs(self) -> dict[str, str]:
        held = {"landmark network": self._landmarker_is}
        if self.embedder is not None:
            held["in-domain encoder"] = self._embedder_is
        return super()._belongs() | held

    def open_data(self) -> str:
        """Read the photos and see their landmarks; returns what there is, in a sentence."""
        said = f"{super().open_data()}; {self.landmarker.note}"
        if self.run.data:
            self.trained = photos(
                self._open("data"), self.run.labels, self.landmarker, self.device, self.run.dtype
            )
            if self.embedder is not None:
                self.trained = self._with_codes(self.trained)
            return f"{self.trained.said}; {said}"
        for image, _ in self._held("samples", PART):
            if not bool(look(self.landmarker, image).found.any()):
                raise ValueError(
                    f"in none of {PART} samples of {self.run.generator} a face is seen; expected a "
                    "generator of faces aligned as FFHQ's, or landmarks by --data and --labels"
                )
        return said

    # One step -------------------------------------------------------------------------------------

    def _codes(self, place: BatchSlice, attempt: int = 0) -> tuple[Tensor, Tensor | None]:
        ws, label = super()._codes(place, attempt)
        if not self.run.spread:
            return ws, label
        inputs, number = self.generator.num_ws, f" {attempt}" if attempt else ""
        z = self.draws.numbers(
            f"own code{number}", place, torch.randn, inputs, self.generator.z_dim
        )
        labels = None if label is None else label.repeat_interleave(inputs, 0)
        own = self._ws(z.flatten(0, 1), labels).unflatten(0, (-1, inputs))
        own = own.diagonal(dim1=1, dim2=2).mT  # of each style input its own
        share = self.run.spread * self.draws.numbers(f"spread{number}", place, torch.rand, 1, 1)
        share = share.to(ws)
        mean = spaces.SPACES["w+"].start(self.generator, 1, "mean")
        # Spread out no less for being a mixture.
        size = torch.hypot(1 - share, share)
        return mean + ((1 - share) * (ws - mean) + share * (own - mean)) / size, label

    def _codes_of(self, encoder: nn.Module, source: Tensor, told: Tensor) -> Tensor:
        with self.run.autocast(self.device):
            return encoder.codes(source, told)

    def _draw(self, code: Tensor) -> Tensor:
        with self.run.autocast(self.device):
            return self.generator.synthesize(code).to(self.run.dtype)

    def _with_codes(self, photos: Photos) -> Photos:
        eye = f"{self._landmarker_is}, mirrored"
        networks = {"encoder": self._embedder_is, "landmark network": eye}
        shape, run = (self.generator.num_ws, self.generator.w_dim), self.run
        told = (self.landmarker, self.host, run.dtype, run.codes, networks)
        return with_codes(photos, self._found, self._draw, shape, *told)

    def _embed(self, image: Tensor) -> Tensor:
        """The in-domain encoder's first look, through which a gradient goes."""
        with self.run.autocast(self.device):
            return self.embedder(image)

    def _found(self, image: Tensor) -> Tensor:
        """The same after its passes."""
        with self.run.autocast(self.device):
            return self.embedder.find(image, self.generator.synthesize)

    def _source(self, faces: Faces) -> Tensor:
        """What the encoder is given of faces: images, their true codes, or those that are found."""
        if self.run.variant == "naive":
            return faces.image
        if faces.code is not None:
            return faces.code
        if faces.ws is not None and self.run.embed == "true":
            return faces.ws
        with torch.no_grad():
            return self._found(faces.image)

    def _faces(self, place: BatchSlice) -> Faces:
        if self.trained is not None:
            return self.trained.at(self.draws, place)
        faces, failed = sampled(
            lambda attempt: self._codes(place, attempt), self._photo, self.landmarker
        )
        self._failed, self._looked = self._failed + int(failed.sum()), self._looked + place.n
        return faces

    # What a person sees ---------------------------------------------------------------------------

    def figures(self) -> dict[str, float]:
        """Samples without a face, which others replaced, for each that was trained on."""
        if not self._looked:
            return {}
        share = self._failed / self._looked
        self._failed = self._looked = 0
        return {"samples without a face": share}

    @torch.no_grad()
    def _views(self, what: str, count: int) -> Iterator[View]:
        """Held-out faces, what the average makes of them with their own landmarks and with those of
        the next, and the way back; by parts."""
        encoder, run = self.average, self.run
        for image, ws in self._held(what, count):
            seen = look(self.landmarker, image)
            if int(seen.found.sum()) < 2:
                continue
            image, ws, points = (x[seen.found] for x in (image, ws, seen.points))
            source = self._source(Faces(image, points, ws if what == "samples" else None, None))
            told = encoder.told(points)
            own, moved = (encoder.codes(source, x) for x in (told, told.roll(-1, 0)))
            drawn = self._shown(moved)
            if run.variant == "naive":
                again, unmoved, code = drawn, None, own
            else:
                again = self.embedder(drawn) if run.sees_itself else moved
                unmoved, code = self._shown(source), source
            back = encoder.codes(again, told)
            apart = (back - code).square().mean((1, 2))
            yield View(image, points, unmoved, self._shown(own), drawn, self._shown(back), apart)

    def _shown(self, code: Tensor) -> Tensor:
        return self.generator.synthesize(code).clamp(-1, 1)

    def samples(self) -> list[Tensor]:
        """Rows of eight: see `View.panels`; held-out samples, then photos."""
        views = (view for what in self._sets() for view in self._views(what, self.run.samples))
        return [panel for view in views for panel in view.panels()]

    @torch.no_grad()
    def scores(self) -> dict[str, float]:
        """Of held-out samples, and of photos: see `View.measures`."""
        scores = {}
        for what in self._sets():
            views = self._views(what, self.run.score_images)
            parts = [view.measures(self.landmarker) for view in views]
            if parts:
                found = {k: float(torch.cat([part[k] for part in parts]).mean()) for k in parts[0]}
                found["way left"] = found["nme"] / found["nme unmoved"]
                scores |= {f"{what}/{name}": value for name, value in found.items()}
        return scores
