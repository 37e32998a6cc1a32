"""The recipes `difference`, `keypoint` and `naive`: a face takes on the landmarks of another.

Legend: N images of a place, C channels, R side of the image, L style inputs, D numbers in w,
K = 68 points, G images of a group.
"Learning an Encoder for Image Editing within a StyleGAN Latent Space", section 2. Another face is
the next one in the group, whose landmarks every step thus has at hand.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from facsimile import metrics
from facsimile.training import BatchSlice, Distributed

from .difference_settings import LandmarkRun
from .landmark_faces import Faces, look
from .landmark_recipe import LandmarkRecipe
from .landmark_tower import picture
from .layers import forget


class Moved(NamedTuple):
    """A place's faces and what became of them."""

    faces: Faces
    source: Tensor
    """What the encoder is given: w (N, L, D), or to the naive one x (N, C, R, R)."""
    told: Tensor
    """What it is told of the faces' own landmarks, c."""
    target: Tensor
    """(N,): whose landmarks c' each takes on."""
    wanted: Tensor
    """(N, K, 2) these."""
    code: Tensor
    """w_hat (N, L, D)"""
    image: Tensor
    """x_hat = G(w_hat) (N, C, R, R)"""


class DifferenceRecipe(LandmarkRecipe):
    """All three: their runs say which encoder it is, and which terms there are."""

    def __init__(self, run: LandmarkRun, host: Distributed):
        super().__init__(run, host)
        self._kept: Moved | None = None

    # One step -------------------------------------------------------------------------------------

    def _begin(self, place: BatchSlice) -> None:
        super()._begin(place)
        if self.critic is not None and self.run.critic_lr is not None:
            for group in self.players[0].optimizer.param_groups:
                group["lr"] = self.run.critic_lr * self.run.fallen(place.step * self.run.batch)

    def losses(self, player: str, place: BatchSlice) -> dict[str, Tensor]:
        self._begin(place)
        return self._of_critic(place) if player == "critic" else self._of_encoder(place)

    def _of_critic(self, place: BatchSlice) -> dict[str, Tensor]:
        """softplus(D(x_hat, c')) + softplus(-D(x, c)) + gamma / 2 |grad_x D(x, c)|^2."""
        # One drawing serves both players where a step has one micro-step.
        with torch.set_grad_enabled(place.whole):
            moved = self._moved(place)
        self._kept = moved if place.whole else None
        if not place.whole:
            forget(self.encoder)  # else they would count twice, and those of the cycle once
        faces = moved.faces
        told = self._tell_critic(faces.points)
        wanted = _of_wanted(moved.wanted, moved.target, faces, told, self._tell_critic)
        return self._told_apart(
            faces.image,
            lambda image: self._judge(image, told, faces.label),
            lambda: self._judge(moved.image.detach(), wanted, faces.label),
            place,
        )

    def _of_encoder(self, place: BatchSlice) -> dict[str, Tensor]:
        """L_adv.manipulated + L_adv.cycle + L_rec.cycle (section 2), and what the run adds."""
        run = self.run
        moved = self._kept or self._moved(place)
        self._kept = None
        faces, own = moved.faces, self._own(place)
        told = wanted = None
        if self.critic is not None:
            with torch.no_grad():
                told = self._tell_critic(faces.own)
                wanted = _of_wanted(moved.wanted, moved.target, faces, told, self._tell_critic)
        losses = self._fooled("adversarial", moved.image, faces, wanted)
        if run.landmark_weight:
            seen = look(self.landmarker, moved.image).points
            apart = metrics.nme(moved.wanted, seen).mean()
            losses["encoder/landmarks"] = run.landmark_weight * apart
        if run.own:
            # The members of a group lie one after another, all firsts before all seconds.
            d = (moved.code - moved.source)[: own * place.n // run.group]
            losses["encoder/identity"] = run.identity_weight * d.square().mean()
        if run.cycle != "none":
            phi = self._phi(faces.image) if run.variant == "naive" else None
            losses |= self._of_cycle(moved, told, phi)
            if run.variant == "naive":
                losses |= self._of_own_landmarks(moved, told, phi)
        elif own:
            losses |= self._apart(moved.image, faces.image)
        return losses

    def _of_cycle(
        self, moved: Moved, told: Tensor | None, phi: list[Tensor] | None
    ) -> dict[str, Tensor]:
        """The way back: the manipulated face takes on its own landmarks again.

        phi: features of the faces, where they are known.
        """
        run, faces = self.run, moved.faces
        source = moved.image
        if run.variant != "naive":
            source = self._embed(moved.image) if run.sees_itself else moved.code
        code, losses = self._codes_of(self.encoder, source, moved.told), {}
        if self.critic is not None or run.cycle == "image":
            image = self._draw(code)
            losses |= self._fooled("cycle adversarial", image, faces, told)
        if not run.cycle_weight:
            return losses
        if run.cycle == "latent":
            apart = {"encoder/cycle latent": (code - moved.source).square().mean()}
        else:
            apart = self._apart(image, faces.image, "cycle ", phi)
        return losses | {name: run.cycle_weight * value for name, value in apart.items()}

    def _of_own_landmarks(
        self, moved: Moved, told: Tensor | None, phi: list[Tensor] | None
    ) -> dict[str, Tensor]:
        """The naive encoder's photo, redrawn with its own landmarks."""
        image = self._draw(self._codes_of(self.encoder, moved.source, moved.told))
        losses = {
            name: self.run.reconstruction_weight * value
            for name, value in self._apart(image, moved.faces.image, wanted=phi).items()
        }
        return losses | self._fooled("own adversarial", image, moved.faces, told)

    def _fooled(
        self,
        name: str,
        image: Tensor,
        faces: Faces,
        told: Tensor | None,
    ) -> dict[str, Tensor]:
        """lambda_adv softplus(-D(image, landmarks)); nothing without a critic."""
        if self.critic is None:
            return {}
        logits = self._judge(image, told, faces.label)
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

    def _moved(self, place: BatchSlice) -> Moved:
        with torch.no_grad():
            faces = self._faces(place)
            source = self._source(faces)
        target = self._targets(place)
        stays = target == torch.arange(place.n, device=self.device)
        wanted = faces.own.where(stays[:, None, None], faces.points[target])
        with self.run.autocast(self.device):
            told = self.encoder.told(faces.own)
            other = _of_wanted(wanted, target, faces, told, self.encoder.told)
        code = self._codes_of(self.encoder, source, other)
        return Moved(faces, source, told, target, wanted, code, self._draw(code))

    def _targets(self, place: BatchSlice) -> Tensor:
        """(N,): the next face of the group; for the group's first `own` ones, they themselves."""
        members, own = torch.arange(self.run.group), self._own(place)
        order = torch.cat([members[:own], members[own:].roll(-1)])
        groups = place.n // self.run.group
        return (order[:, None] * groups + torch.arange(groups)).flatten().to(self.device)

    def _own(self, place: BatchSlice) -> int:
        """Faces of a group that are to keep their own landmarks."""
        run = self.run
        return run.group if run.cycle == "none" and place.step % 2 == 0 else run.own


def _of_wanted(
    wanted: Tensor, target: Tensor, faces: Faces, told: Tensor, tell: Callable[[Tensor], Tensor]
) -> Tensor:
    """What `tell` makes of the landmarks wanted (N, K, 2); told: of the faces' own, among which
    they are, save where codes draw others than the photos have."""
    return told[target] if faces.seen is None else tell(wanted)
