"""The recipes `difference`, `keypoint` and `naive`: a face takes on the landmarks of another.

Legend: N images of a place, C channels, R side of the image, L style inputs, D numbers in w,
K = 68 points, G images of a group.
"Learning an Encoder for Image Editing within a StyleGAN Latent Space", section 2. Another face is
the next one in the group, whose landmarks every step thus has at hand.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import data
import metrics
from data.landmark_network import FILE
from stylegan import freeze
from stylegan.generator import fingerprint
from training import Host, Place
from training.penalties import r1

from .difference import DifferenceConfig, DifferenceEncoder
from .difference_settings import LandmarkRun
from .landmark_critics import ConcatCritic, ProjectionCritic
from .landmark_faces import Faces, Photos, look, photos, sampled
from .landmark_tower import picture
from .landmark_view import View
from .layers import forget
from .naive import NaiveConfig, NaiveEncoder
from .recipe import PART, EncoderRecipe


class Moved(NamedTuple):
    """A place's faces and what became of them."""

    faces: Faces
    source: Tensor
    """What the encoder is given: w (N, L, D), or to the naive one x (N, C, R, R)."""
    told: Tensor
    """What it is told of the faces' own landmarks, c."""
    target: Tensor
    """(N,): whose landmarks c' each takes on."""
    code: Tensor
    """w_hat (N, L, D)"""
    image: Tensor
    """x_hat = G(w_hat) (N, C, R, R)"""


class LandmarkRecipe(EncoderRecipe):
    """All three: their runs say which encoder it is, and which terms there are."""

    player = "encoder"
    betas = (0.9, 0.99)

    def __init__(self, run: LandmarkRun, host: Host):
        path = run.landmark_weights or host.landmarks
        if path is None:
            raise ValueError(f"no landmark network is bundled here; give a {FILE}")
        self.landmarker = data.landmarker("small", small=path, device=host.device)
        self.landmarker.network.to(run.dtype)
        self.embedder: nn.Module | None = None
        super().__init__(run, host)
        self.trained: Photos | None = None
        self.critic: ProjectionCritic | ConcatCritic | None = None
        self._kept: Moved | None = None
        self._failed = self._drawn = 0
        self.gamma = self._gamma(run.r1)
        if run.adversarial_weight:
            own = self._own_critic(bool(run.data))
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(run.seed)
                if run.critic == "concat":
                    critic = ConcatCritic(own)
                else:
                    critic = ProjectionCritic(own, run.width, self._most)
            self.critic = self._placed(critic)
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
    def _most(self) -> int:
        return self.run.max_width or 16 * self.run.width

    def _network(self) -> nn.Module:
        run, told = self.run, (self.run.width, self._most, self.run.resolution)
        if run.variant == "naive":
            return NaiveEncoder(NaiveConfig.of(self.generator, *told), run.group)
        config = DifferenceConfig.of(self.generator, run.variant, *told, norm=run.norm)
        return DifferenceEncoder(config, run.group)

    def _belongs(self) -> dict[str, str]:
        held = {"landmark network": fingerprint(self.landmarker.network.state_dict())}
        if self.embedder is not None:
            held["in-domain encoder"] = self._embedder_is
        return super()._belongs() | held

    def open_data(self) -> str:
        """Read the photos and see their landmarks; returns what there is, in a sentence."""
        said = super().open_data()
        if self.run.data:
            self.trained = photos(
                self._open("data"), self.run.labels, self.landmarker, self.device, self.run.dtype
            )
            return f"{self.trained.said}; {said}"
        for image, _ in self._held("samples", PART):
            if not bool(look(self.landmarker, image).found.any()):
                raise ValueError(
                    f"in none of {PART} samples of {self.run.generator} a face is seen; expected a "
                    "generator of faces aligned as FFHQ's, or landmarks by --data and --labels"
                )
        return said

    # One step -------------------------------------------------------------------------------------

    def _begin(self, place: Place) -> None:
        super()._begin(place)
        run = self.run
        if self.critic is not None and run.critic_lr is not None:
            for group in self.players[0].optimizer.param_groups:
                group["lr"] *= run.critic_lr / run.lr

    def losses(self, player: str, place: Place) -> dict[str, Tensor]:
        self._begin(place)
        return self._of_critic(place) if player == "critic" else self._of_encoder(place)

    def _of_critic(self, place: Place) -> dict[str, Tensor]:
        """softplus(D(x_hat, c')) + softplus(-D(x, c)) + gamma / 2 |grad_x D(x, c)|^2."""
        # One drawing serves both players where a step has one micro-step.
        with torch.set_grad_enabled(place.whole):
            moved = self._moved(place)
        self._kept = moved if place.whole else None
        if not place.whole:
            forget(self.encoder)  # else they would count twice, and those of the cycle once
        faces = moved.faces
        told = self._tell_critic(faces.points)
        penalised = self.gamma > 0 and place.step % self.run.r1_every == 0
        real = faces.image.detach().requires_grad_(penalised)
        on_real = self._judge(real, told, faces.label)
        on_fake = self._judge(moved.image.detach(), told[moved.target], faces.label)
        losses = {
            "critic/fake": F.softplus(on_fake).mean(),
            "critic/real": F.softplus(-on_real).mean(),
        }
        if penalised:
            penalty = r1(on_real, real).mean()
            losses["critic/r1"] = 0.5 * self.gamma * self.run.r1_every * penalty
        return losses

    def _of_encoder(self, place: Place) -> dict[str, Tensor]:
        """L_adv.manipulated + L_adv.cycle + L_rec.cycle (section 2), and what the run adds."""
        run = self.run
        moved = self._kept or self._moved(place)
        self._kept = None
        faces, keeps = moved.faces, moved.target == torch.arange(place.n, device=self.device)
        told = None if self.critic is None else self._tell_critic(faces.points)
        losses = self._fooled("adversarial", moved.image, faces, told, moved.target)
        if run.landmark_weight:
            seen = look(self.landmarker, moved.image).points
            apart = metrics.mean_error(faces.points[moved.target], seen).mean()
            losses["encoder/landmarks"] = run.landmark_weight * apart
        if run.own:
            d = (moved.code - moved.source)[keeps]
            losses["encoder/identity"] = run.identity_weight * d.square().mean()
        if run.cycle != "none":
            losses |= self._of_cycle(moved, told)
            if run.variant == "naive":
                losses |= self._of_own_landmarks(moved, told)
        elif bool(keeps.all()):
            losses |= self._apart(moved.image, faces.image)
        return losses

    def _of_cycle(self, moved: Moved, told: Tensor | None) -> dict[str, Tensor]:
        """The way back: the manipulated face takes on its own landmarks again."""
        run, faces = self.run, moved.faces
        source = moved.image
        if run.variant != "naive":
            source = self._embed(moved.image) if run.sees_itself else moved.code
        code, losses = self._codes_of(self.encoder, source, moved.told), {}
        if self.critic is not None or run.cycle == "image":
            image = self._draw(code)
            losses |= self._fooled("cycle adversarial", image, faces, told)
        if run.cycle == "latent":
            apart = {"encoder/cycle latent": (code - moved.source).square().mean()}
        else:
            apart = self._apart(image, faces.image, "cycle ")
        return losses | {name: run.cycle_weight * value for name, value in apart.items()}

    def _of_own_landmarks(self, moved: Moved, told: Tensor | None) -> dict[str, Tensor]:
        """The naive encoder's photo, redrawn with its own landmarks."""
        image = self._draw(self._codes_of(self.encoder, moved.source, moved.told))
        losses = {
            name: self.run.reconstruction_weight * value
            for name, value in self._apart(image, moved.faces.image).items()
        }
        return losses | self._fooled("own adversarial", image, moved.faces, told)

    def _fooled(
        self,
        name: str,
        image: Tensor,
        faces: Faces,
        told: Tensor | None,
        target: Tensor | slice = slice(None),
    ) -> dict[str, Tensor]:
        """lambda_adv softplus(-D(image, landmarks of the target)); nothing without a critic."""
        if self.critic is None:
            return {}
        logits = self._judge(image, told[target], faces.label)
        return {f"encoder/{name}": self.run.adversarial_weight * F.softplus(-logits).mean()}

    def _tell_critic(self, points: Tensor) -> Tensor:
        side = self.generator.resolution
        with self.run.autocast(self.device):
            return self.critic.told(picture(points, side, side))

    def _judge(self, image: Tensor, told: Tensor, label: Tensor | None) -> Tensor:
        """Logits (N, 1) of the critic."""
        with self.run.autocast(self.device):
            label = label if self.critic.own.config.c_dim else None
            return self.critic(image, told, label).to(self.run.dtype)

    def _codes_of(self, encoder: nn.Module, source: Tensor, told: Tensor) -> Tensor:
        with self.run.autocast(self.device):
            return encoder.codes(source, told)

    def _draw(self, code: Tensor) -> Tensor:
        with self.run.autocast(self.device):
            return self.generator.synthesize(code).to(self.run.dtype)

    def _embed(self, image: Tensor) -> Tensor:
        with self.run.autocast(self.device):
            return self.embedder(image)

    def _source(self, faces: Faces) -> Tensor:
        run = self.run
        if run.variant == "naive":
            return faces.image
        return (
            faces.ws if faces.ws is not None and run.embed == "true" else self._embed(faces.image)
        )

    def _moved(self, place: Place) -> Moved:
        with torch.no_grad():
            faces = self._faces(place)
            source = self._source(faces)
        with self.run.autocast(self.device):
            told = self.encoder.told(faces.points)
        target = self._targets(place)
        code = self._codes_of(self.encoder, source, told[target])
        return Moved(faces, source, told, target, code, self._draw(code))

    def _faces(self, place: Place) -> Faces:
        if self.trained is not None:
            return self.trained.at(self.draws, place)
        faces, failed = sampled(
            lambda attempt: self._codes(place, attempt), self._photo, self.landmarker
        )
        self._failed, self._drawn = self._failed + int(failed.sum()), self._drawn + place.n
        return faces

    def _targets(self, place: Place) -> Tensor:
        """(N,): the next face of the group; for the group's first `own` ones, they themselves."""
        run = self.run
        members = torch.arange(run.group)
        own = run.own
        if run.cycle == "none" and place.step % 2 == 0:
            own = run.group
        order = torch.cat([members[:own], members[own:].roll(-1)])
        groups = place.n // run.group
        return (order[:, None] * groups + torch.arange(groups)).flatten().to(self.device)

    # What a person sees ---------------------------------------------------------------------------

    def figures(self) -> dict[str, float]:
        """Samples without a face, which others replaced, for each that was trained on."""
        if not self._drawn:
            return {}
        share = self._failed / self._drawn
        self._failed = self._drawn = 0
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
                again, unmoved, code = drawn, image, own
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
