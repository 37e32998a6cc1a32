"""The recipe `regions`: the small region network, trained on photos with face meshes and masks.

Legend: N images, S resolution of the photos and of the network's input, K classes.
"""

import copy
import math
import re
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from facsimile import data
from facsimile.data.region_network import (
    CLASSES,
    FILE,
    REGIONS,
    RegionConfig,
    RegionNetwork,
    class_colours,
    load,
    region_map,
    save,
)
from facsimile.stylegan import freeze

from . import landmark_augment
from .face_network_recipe import FaceNetworkRecipe
from .keyed_sampler import KeyedSampler
from .progress import with_bar
from .recipe import BatchSlice, Distributed, Trainable
from .region_labels import UNKNOWN, match_labels
from .region_settings import RegionSettings
from .training_set import open_training_set

NAME = "regions"
"""Name of the only trainable."""
LABELS = "labels.npz"
"""File in the folder of a run, see `match_labels`."""
PARTS = ("brows", "eyes", "nose", "lips", "teeth")
"""Small classes, whose pixels may weigh more."""
PART = 50
"""Images at a time where no gradient is taken."""


class RegionRecipe(FaceNetworkRecipe):
    """The network and its moving average. `setup_data` opens the photos and makes their labels."""

    train_photos: data.ImageDataset
    eval_photos: data.ImageDataset
    """Held-out photos."""
    train_labels: Tensor
    """(M, S, S) uint8"""
    eval_labels: Tensor

    def __init__(self, settings: RegionSettings, distributed: Distributed):
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
        self.class_weights = torch.ones(len(CLASSES), dtype=settings.dtype, device=self.device)
        parts = [CLASSES.index(name) for name in PARTS]
        self.class_weights[parts] = settings.objective.part_weight

    def setup_data(self) -> str:
        """Raises ValueError if no photo is held out, or if all are."""
        dataset = self.settings.dataset
        images = open_training_set(dataset.data, self.side, self.settings, self.distributed)
        cache, quiet = self.settings.out / LABELS, not self.distributed.shows_progress
        photos, labels = match_labels(images, dataset.mesh, dataset.person, cache, quiet=quiet)
        held_out = torch.tensor(
            [bool(re.fullmatch(dataset.held_out, Path(name).stem)) for name in photos.names]
        )
        if held_out.all() or not held_out.any():
            raise ValueError(
                f"--held-out {dataset.held_out!r} describes {int(held_out.sum())} of {len(photos)} "
                f"photos, such as {Path(photos.names[0]).stem}; hold out some and not all"
            )
        train, evaluate = (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]
        self.train_photos, self.train_labels = photos.subset(train), labels[train]
        self.eval_photos, self.eval_labels = photos.subset(evaluate), labels[evaluate]
        summary = f"{len(train)} photos, {len(evaluate)} held out"
        if len(photos) < len(images):
            summary += f", {len(images) - len(photos)} without mesh or mask left out"
        return summary

    # One step -------------------------------------------------------------------------------------

    def forward(self, batch: BatchSlice) -> None:
        """There is one trainable, so nothing is shared."""

    def losses(self, name: str, batch: BatchSlice, shared: None) -> dict[str, Tensor]:
        """Cross-entropy of the classes on faces, and of face against no face."""
        objective = self.settings.objective
        with torch.no_grad():
            images, labels, is_face = self._faces(batch)
        images = images.contiguous(memory_format=torch.channels_last)
        logits, presence = self.network.predict(images)
        labels = torch.where(is_face[:, None, None], labels, UNKNOWN)
        # A mean over the pixels of each image, so that images do not influence one another.
        errors = F.cross_entropy(
            logits, labels, self.class_weights, ignore_index=UNKNOWN, reduction="none"
        ).mean((1, 2))
        mistaken = F.binary_cross_entropy_with_logits(presence, is_face.to(presence))
        return {
            "regions/classes": errors.mean() / (1 - objective.negative_fraction),
            "regions/presence": objective.presence_weight * mistaken,
        }

    def _faces(self, batch: BatchSlice) -> tuple[Tensor, Tensor, Tensor]:
        """Augmented photos (N, 3, S, S), labels (N, S, S), and whether they show a face (N,)."""
        numbers = self.sampler.numbers
        photos, indices = self.sampler.batch(self.train_photos, batch)
        labels = self.train_labels[indices].to(self.device)
        uniform = numbers("change", batch, torch.rand, landmark_augment.UNIFORMS)
        order = numbers("order", batch, torch.rand, landmark_augment.TILES**2).argsort(1)
        normal = numbers("grain", batch, torch.randn, 3, self.side, self.side, on_device=True)
        return self._augment(photos, labels, uniform, normal, order)

    def _augment(
        self, photos: Tensor, labels: Tensor, uniform: Tensor, normal: Tensor, order: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Photos and labels, moved and degraded, or made negatives, as those of landmarks."""
        uniform, normal = (x.to(self.device, self.settings.dtype) for x in (uniform, normal))
        is_face = uniform[:, -1] >= self.settings.objective.negative_fraction
        poses, _ = landmark_augment.face_pose(uniform)
        negative_poses, kind = landmark_augment.negative_pose(uniform)
        poses = torch.where(is_face[:, None, None], poses, negative_poses).to(photos)
        images = landmark_augment.warp(photos, poses, self.side)
        negative = (~is_face).nonzero()[:, 0]
        images[negative] = landmark_augment.make_negative(
            *(x[negative] for x in (images, kind, order.to(self.device), normal))
        )
        images = landmark_augment.degrade(images, uniform, normal)
        return images, warp_labels(labels, poses), is_face

    # Reports --------------------------------------------------------------------------------------

    @torch.no_grad()
    def _predictions(self, count: int) -> Iterator[tuple[Tensor, ...]]:
        """(images, labels, logits, logits of a face) of the first held-out photos, by parts."""
        parts = torch.arange(min(count, len(self.eval_photos))).split(PART)
        batches = self.eval_photos.batches(parts, self.device, self.settings.dtype)
        batches = with_bar(batches, sum(map(len, parts)), "held out", self.distributed)
        for part, photos in zip(parts, batches, strict=True):
            labels = self.eval_labels[part].to(self.device)
            yield photos, labels, *self.average.predict(photos)

    def sample_grid(self) -> list[Tensor]:
        """Held-out faces under their classes in colours, as predicted and as labelled."""
        predicted, labelled = [], []
        for images, labels, logits, _ in self._predictions(self.settings.evaluation.num_samples):
            predicted += ((images + class_colours(logits.argmax(1))) / 2).float().unbind()
            known = labels.masked_fill(labels == UNKNOWN, 0)
            labelled += ((images + class_colours(known)) / 2).float().unbind()
        half = math.ceil(len(predicted) / 2)
        return predicted[:half] + labelled[:half] + predicted[half:] + labelled[half:]

    def evaluate(self) -> dict[str, float]:
        """IoU of each region with its labels, in %: of all photos' pixels together."""
        both = dict.fromkeys(REGIONS, 0.0)
        either = dict.fromkeys(REGIONS, 0.0)
        detected = []
        for _, labels, logits, presence in self._predictions(len(self.eval_photos)):
            shares, known = logits.softmax(1), labels != UNKNOWN
            classes = F.one_hot(labels.masked_fill(~known, 0).long(), len(CLASSES)).movedim(3, 1)
            for name in REGIONS:
                a = (region_map(shares, name) > 0.5)[:, 0] & known
                b = (region_map(classes.float(), name) > 0.5)[:, 0] & known
                both[name] += float((a & b).sum())
                either[name] += float((a | b).sum())
            detected.append(presence > 0)
        scores = {f"iou {name} %": 100 * both[name] / max(either[name], 1) for name in REGIONS}
        return scores | {"faces detected %": 100 * float(torch.cat(detected).float().mean())}

    def save(self, out: Path) -> None:
        save(self.average, out / FILE)


def _network(settings: RegionSettings) -> RegionNetwork:
    sizes = settings.network
    if sizes.init_from is not None:
        return load(sizes.init_from).requires_grad_()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        config = RegionConfig(side=sizes.side, width=sizes.width, depth=sizes.depth)
        return RegionNetwork(config)


def warp_labels(labels: Tensor, poses: Tensor) -> Tensor:
    """labels (N, S, S) uint8 -> (N, S, S) int64: those of the images after `landmark_augment.warp`.

    poses: (N, 3, 3). Each pixel takes the label that is nearest.
    """
    size = [len(labels), 1, *labels.shape[1:]]
    grid = F.affine_grid(poses[:, :2], size, align_corners=False)
    moved = F.grid_sample(
        labels[:, None].to(poses.dtype), grid, "nearest", "reflection", align_corners=False
    )
    return moved[:, 0].round().long()
