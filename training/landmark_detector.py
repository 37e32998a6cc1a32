"""The recipe `landmarks`: the small landmark network, trained on photos with known landmarks.

Legend: N images, R resolution of the photos in memory, S resolution of the network's input.
"Wing Loss for Robust Facial Landmark Localisation with Convolutional Neural Networks", equation 5.
"""

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from facsimile import data, metrics
from facsimile.data.landmark_files import match_landmarks
from facsimile.data.landmark_network import FILE, LandmarkConfig, LandmarkNetwork, load, save
from facsimile.data.points68 import OUTER_EYES
from facsimile.metrics.resize import resize
from facsimile.stylegan import freeze

from . import landmark_augment
from .face_network_recipe import FaceNetworkRecipe
from .keyed_sampler import KeyedSampler
from .landmark_settings import LandmarkDetectorSettings
from .progress import with_bar
from .recipe import BatchSlice, Distributed, Trainable
from .training_set import open_training_set

NAME = "landmarks"
"""Name of the only trainable."""
OVERSAMPLING = 2
"""R / S: photos are stored larger, so that enlarged parts of them stay sharp."""
HELD_OUT = 13
"""Every 13th photo is never trained on."""
PART = 100
"""Images at a time where no gradient is taken."""
WING, CURVATURE = 10.0, 2.0
"""omega and epsilon of the wing loss, in 256ths of the side: those of its paper."""
WING_RESOLUTION = 256
"""Resolution in whose pixels the wing loss is computed, as in its paper."""


class Faces(NamedTuple):
    """Inputs of the network and what it should predict."""

    images: Tensor
    """(N, 3, S, S)"""
    points: Tensor
    """(N, 68, 2) in sides of the image"""
    is_face: Tensor
    """(N,)"""


class LandmarkDetectorRecipe(FaceNetworkRecipe):
    """The network and its moving average. `setup_data` opens the photos and their landmarks."""

    train_photos: data.ImageDataset
    eval_photos: data.ImageDataset
    """Held-out photos."""
    train_points: Tensor
    """(M, 68, 2) in sides of the photo."""
    eval_points: Tensor

    def __init__(self, settings: LandmarkDetectorSettings, distributed: Distributed):
        self.settings, self.distributed = settings, distributed
        self.device = distributed.device
        self.group_size = 1
        self.sampler = KeyedSampler.for_run(settings, distributed, self.group_size)
        network = _network(settings)
        network = network.to(self.device, settings.dtype, memory_format=torch.channels_last)
        self.network = network.train()
        self.side = network.config.side
        self.average = freeze(copy.deepcopy(self.network))
        lr = settings.optimizer.lr  # the loop sets it before each step
        optimizer = torch.optim.Adam(self.network.parameters(), lr=lr, fused=True)
        self.trainables: tuple[Trainable, ...] = (Trainable(NAME, self.network, optimizer),)

    def setup_data(self) -> str:
        sources, file = self.settings.dataset.data, self.settings.dataset.landmark_file
        resolution = OVERSAMPLING * self.side
        images = open_training_set(sources, resolution, self.settings, self.distributed)
        photos, landmarks = match_landmarks(images, file)
        if len(photos) < 2:
            raise ValueError(
                f"{file} has landmarks of {len(photos)} photos, expected more: every "
                f"{HELD_OUT}th is held out for the scores"
            )
        points = landmarks / photos.resolution
        held_out = torch.arange(len(photos)) % HELD_OUT == 0
        train, evaluate = (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]
        self.train_photos, self.train_points = photos.subset(train), points[train]
        self.eval_photos, self.eval_points = photos.subset(evaluate), points[evaluate]
        summary = f"{len(train)} photos, {len(evaluate)} held out"
        if len(photos) < len(images):
            summary += f", {len(images) - len(photos)} without landmarks left out"
        if images.failed:
            summary += f", {len(images.failed)} could not be read ({images.failed[0]})"
        return summary

    # One step -------------------------------------------------------------------------------------

    def forward(self, batch: BatchSlice) -> None:
        """There is one trainable, so nothing is shared."""

    def losses(self, name: str, batch: BatchSlice, shared: None) -> dict[str, Tensor]:
        """Wing loss on the points of faces, and cross-entropy of face against no face."""
        objective = self.settings.objective
        with torch.no_grad():
            images, points, is_face = self._faces(batch)
        images = images.contiguous(memory_format=torch.channels_last)
        predicted, logits = self.network.predict(images)
        errors = wing(WING_RESOLUTION * (predicted - points)).mean((1, 2)) / WING
        presence = F.binary_cross_entropy_with_logits(logits, is_face.to(logits))
        return {
            "landmarks/points": torch.where(is_face, errors, 0.0).mean()
            / (1 - objective.negative_fraction),
            "landmarks/presence": objective.presence_weight * presence,
        }

    def _faces(self, batch: BatchSlice) -> Faces:
        """Augmented training photos."""
        dtype, numbers = self.settings.dtype, self.sampler.numbers
        photos, indices = self.sampler.batch(self.train_photos, batch)
        points = self.train_points[indices].to(self.device, dtype)
        uniform = numbers("change", batch, torch.rand, landmark_augment.UNIFORMS)
        order = numbers("order", batch, torch.rand, landmark_augment.TILES**2).argsort(1)
        normal = numbers("grain", batch, torch.randn, 3, self.side, self.side, on_device=True)
        return self._augment(photos, points, uniform, normal, order)

    def _augment(
        self, photos: Tensor, points: Tensor, uniform: Tensor, normal: Tensor, order: Tensor
    ) -> Faces:
        """Photos (N, 3, R, R) with points (N, 68, 2), moved and degraded, or made negatives."""
        uniform, normal = (x.to(self.device, self.settings.dtype) for x in (uniform, normal))
        is_face = uniform[:, -1] >= self.settings.objective.negative_fraction
        poses, mirrored = landmark_augment.face_pose(uniform)
        negative_poses, kind = landmark_augment.negative_pose(uniform)
        poses = torch.where(is_face[:, None, None], poses, negative_poses).to(photos)
        images = landmark_augment.warp(photos, poses, self.side)
        kind = kind.masked_fill(is_face, -1)
        images = landmark_augment.make_negative(images, kind, order.to(self.device), normal)
        images = landmark_augment.degrade(images, uniform, normal)
        return Faces(images, landmark_augment.warp_points(points, poses, mirrored), is_face)

    # Reports --------------------------------------------------------------------------------------

    @torch.no_grad()
    def _predictions(self, how: str, count: int) -> Iterator[tuple[Tensor, ...]]:
        """(images, points, predicted points, logits) of held-out photos, by parts.

        how: "plain", "degraded" (and moved), or "negative", without faces; always the same ones.
        """
        dtype = self.settings.dtype
        parts = torch.arange(min(count, len(self.eval_photos))).split(PART)
        batches = self.eval_photos.batches(parts, self.device, dtype)
        batches = with_bar(batches, sum(map(len, parts)), how, self.distributed)
        for part, photos in zip(parts, batches, strict=True):
            points = self.eval_points[part].to(self.device, dtype)
            images = resize(photos, (self.side, self.side), clamp=True)
            if how != "plain":
                batch = BatchSlice(0, int(part[0]), len(part))
                images, points = self._degraded(photos, points, batch, negative=how == "negative")
            yield images, points, *self.average.predict(images)

    def _degraded(
        self, photos: Tensor, points: Tensor, batch: BatchSlice, *, negative: bool
    ) -> tuple[Tensor, Tensor]:
        """Held-out photos as in training, but all of them faces or all of them negatives."""
        numbers = self.sampler.numbers
        uniform = numbers("judged", batch, torch.rand, landmark_augment.UNIFORMS)
        uniform[:, -1] = 0.0 if negative else 1.0
        tiles = numbers("judged tiles", batch, torch.rand, landmark_augment.TILES**2)
        normal = numbers("judged grain", batch, torch.randn, 3, self.side, self.side)
        images, points, _ = self._augment(photos, points, uniform, normal, tiles.argsort(1))
        return images, points

    def sample_grid(self) -> list[Tensor]:
        """Held-out faces with the predicted points, unchanged and degraded."""
        rows, half = [], math.ceil(self.settings.evaluation.num_samples / 2)
        for how in ("plain", "degraded"):
            for images, _, predicted, _ in self._predictions(how, half):
                side = 2 * images.shape[-1]
                enlarged = F.interpolate(images, (side, side), mode="bilinear")
                rows += data.draw_points(enlarged.float(), side * predicted.float()).unbind()
        return rows

    def evaluate(self) -> dict[str, float]:
        """NME in % of the distance of the outer eye corners, and detection rates in %."""
        scores = {}
        for how in ("plain", "degraded", "negative"):
            parts = list(self._predictions(how, len(self.eval_photos)))
            logits = torch.cat([logits for *_, logits in parts])
            detected = 100 * float((logits > 0).float().mean())
            if how == "negative":
                scores["false positives %"] = detected
                continue
            errors = [
                metrics.nme(points, predicted, OUTER_EYES) for _, points, predicted, _ in parts
            ]
            scores[f"nme {how} %"] = 100 * float(torch.cat(errors).mean())
            scores[f"faces detected {how} %"] = detected
        return scores

    def save(self, out: Path) -> None:
        save(self.average, out / FILE)


def _network(settings: LandmarkDetectorSettings) -> LandmarkNetwork:
    sizes = settings.network
    if sizes.init_from is not None:
        return load(sizes.init_from).requires_grad_()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        config = LandmarkConfig(side=sizes.side, width=sizes.width, depth=sizes.depth)
        return LandmarkNetwork(config)


def wing(x: Tensor) -> Tensor:
    """omega ln(1 + |x| / epsilon) within omega, |x| - C beyond (equation 5)."""
    size = x.abs()
    offset = WING - WING * math.log1p(WING / CURVATURE)
    return torch.where(size < WING, WING * torch.log1p(size / CURVATURE), size - offset)
