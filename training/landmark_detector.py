"""The recipe `landmarks`: the small landmark network, trained on photos with labels.

Legend: N images of a place, R side of the photos in memory, S side that the network sees.
"Wing Loss for Robust Facial Landmark Localisation with Convolutional Neural Networks", equation 5.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor

from facsimile import data, metrics
from facsimile.data.landmark_labels import labelled
from facsimile.data.landmark_network import FILE, LandmarkConfig, LandmarkNetwork, load, save
from facsimile.data.points68 import OUTER_EYES
from facsimile.stylegan import freeze
from facsimile.training import BatchSlice, Distributed, Run, Trainable, ema
from facsimile.training.draws import KeyedSampler

from . import landmark_augment as damage

OVER = 2
"""R / S: photos are kept larger, so that those which are drawn nearer stay sharp."""
HELD_OUT = 13
"""Every 13th photo is never trained on."""
PART = 100
"""Images at a time where no gradient is taken."""
WING, CURVATURE = 10.0, 2.0
"""omega and epsilon of the wing loss, in 256ths of the side: those of its paper."""


@dataclass(frozen=True, kw_only=True)
class LandmarksRun(Run):
    """Train the small network that finds the 68 landmarks of a face.

    Writes OUT/landmarks.safetensors (the moving average), sample sheets, curves and checkpoints:
    train.py landmarks --data faces.zip --labels landmarks.npz --out runs/landmarks
    """

    data: tuple[str, ...]
    """Folders or zips of aligned photos, used together."""
    labels: Path
    """.npz with `names`, the photos' file names, and `landmarks` (M, 68, 2), x and y in pixels."""
    images: int = 400_000
    batch: int = 32
    precision: Literal["fp32", "fp64"] = "fp32"
    """The network is too small for half precision to pay."""
    start: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """A network's file, or a run's folder, to go on from: it says the next three settings. A run
    that has a checkpoint goes on from that."""
    side: int = 64
    """Pixels of the photo that the network sees."""
    width: int = 24
    """Channels of its first stage."""
    depth: int = 3
    """Residual blocks of its last."""
    lr: float = 2e-3
    decay_images: int = 400_000
    """Images over which the learning rate falls to a hundredth, along half a cosine."""
    others: float = 0.15
    """Share of images that show no face."""
    presence_weight: float = 0.5
    """Of the term that tells faces from others."""
    average: float = 4_000
    """Half-life of the moving average of the weights, in images."""
    average_ramp: float = 0.05
    """The half-life is at most this share of the images seen; 0: no ramp."""
    samples: int = 32
    """Faces of a sheet, held out; half of them as they are, half damaged."""

    FREE = (*Run.FREE, "samples")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("side", "width", "depth", "decay_images", "samples"):
            self._at_least(name, 1)
        if not 0 <= self.others < 1:
            raise ValueError(f"--others is {self.others}; it must be at least 0 and below 1")


def _network(run: LandmarksRun) -> LandmarkNetwork:
    if run.start is not None:
        return load(run.start).requires_grad_()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(run.seed)
        return LandmarkNetwork(LandmarkConfig(side=run.side, width=run.width, depth=run.depth))


class LandmarksRecipe:
    def __init__(self, run: LandmarksRun, host: Distributed):
        self.run, self.host, self.device = run, host, host.device
        self.name = "landmarks"
        self.group = 1
        self.draws = KeyedSampler(run.seed, self.group, host.device, run.dtype)
        network = _network(run).to(host.device, run.dtype, memory_format=torch.channels_last)
        self.network = network.train()
        self.side = network.config.side
        self.average = freeze(copy.deepcopy(self.network))
        optimizer = torch.optim.Adam(self.network.parameters(), lr=run.lr, fused=True)
        self.players = (Trainable(self.name, self.network, optimizer),)
        self.trained: data.ImageSet | None = None
        self.held_out: data.ImageSet | None = None
        # (M, 68, 2), the side the unit.
        self.points: Tensor | None = None
        self.held_out_points: Tensor | None = None

    def open_data(self) -> str:
        """Read photos and labels; returns what there is, in a sentence."""
        run = self.run
        images = data.load_images(run.data, OVER * self.side)
        kept, landmarks = labelled(images, run.labels)
        points = landmarks / kept.pixels.shape[-1]
        held_out = torch.arange(len(kept)) % HELD_OUT == 0
        if len(kept) < 2:
            raise ValueError(
                f"{run.labels} has landmarks of {len(kept)} photos, expected more: every "
                f"{HELD_OUT}th is held out for the scores"
            )
        mine, other = (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]
        self.trained, self.points = kept.subset(mine), points[mine]
        self.held_out, self.held_out_points = kept.subset(other), points[other]
        said = f"{len(mine)} photos, {len(other)} held out"
        if len(kept) < len(images):
            said += f", {len(images) - len(kept)} without landmarks left out"
        if images.failed:
            said += f", {len(images.failed)} could not be read ({images.failed[0]})"
        return said

    # One step -------------------------------------------------------------------------------------

    def _shown(
        self, photos: Tensor, points: Tensor, uniform: Tensor, normal: Tensor, order: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Images (N, 3, S, S), their points (N, 68, 2), and whether they are faces (N,)."""
        side = self.side
        is_face = uniform[:, -1] >= self.run.others
        places, mirrored = damage.faces(uniform)
        elsewhere, kind = damage.no_faces(uniform)
        places = torch.where(is_face[:, None, None], places, elsewhere).to(photos)
        images = damage.moved(photos, places, side)
        images = damage.spoilt(images, kind.masked_fill(is_face, -1), order, normal)
        images = damage.damaged(images, uniform, normal)
        return images, damage.moved_points(points, places, mirrored), is_face

    def _drawn(self, place: BatchSlice) -> tuple[Tensor, Tensor, Tensor]:
        run, numbers = self.run, self.draws.numbers
        chosen = self.draws.indices(len(self.trained), place)
        photos = self.trained.batch(chosen, self.device, run.dtype)
        points = self.points[chosen].to(self.device, run.dtype)
        uniform = numbers("change", place, torch.rand, damage.UNIFORMS).to(self.device, run.dtype)
        order = numbers("order", place, torch.rand, damage.TILES**2).argsort(1).to(self.device)
        normal = numbers("grain", place, torch.randn, 3, self.side, self.side, on_device=True)
        return self._shown(photos, points, uniform, normal.to(run.dtype), order)

    def losses(self, player: str, place: BatchSlice) -> dict[str, Tensor]:
        """Wing loss on the points of faces, and cross-entropy of face against no face."""
        run = self.run
        (group,) = self.players[0].optimizer.param_groups
        group["lr"] = run.lr * falling(place.step * run.batch / run.decay_images)
        with torch.no_grad():
            images, points, is_face = self._drawn(place)
        found, logits = self.network.look(images.contiguous(memory_format=torch.channels_last))
        apart = wing(256 * (found - points)).mean((1, 2)) / WING
        telling = F.binary_cross_entropy_with_logits(logits, is_face.to(logits))
        return {
            "landmarks/points": torch.where(is_face, apart, 0.0).mean() / (1 - run.others),
            "landmarks/presence": run.presence_weight * telling,
        }

    def after(self, place: BatchSlice) -> None:
        run = self.run
        seen = (place.step + 1) * run.batch
        factor = ema.decay(run.batch, seen, run.average, run.average_ramp)
        ema.update(self.average, self.network, factor)

    def state(self) -> dict[str, Any]:
        return {"average": self.average.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.average.load_state_dict(state["average"])

    # What a person sees ---------------------------------------------------------------------------

    def figures(self) -> dict[str, float]:
        return {}

    @torch.no_grad()
    def _judged(self, how: str, count: int) -> Iterator[tuple[Tensor, ...]]:
        """(images, points, found, logits) of held-out photos, by parts: the same every time.

        how: "plain", "damaged" (and moved), or "others", which show no face.
        """
        run = self.run
        for part in torch.arange(min(count, len(self.held_out))).split(PART):
            photos = self.held_out.batch(part, self.device, run.dtype)
            points = self.held_out_points[part].to(self.device, run.dtype)
            images = data.resize(photos, self.side)
            if how != "plain":
                place = BatchSlice(0, int(part[0]), len(part), True)
                judged = KeyedSampler(run.seed, 1, self.device, run.dtype)
                uniform = judged.numbers("judged", place, torch.rand, damage.UNIFORMS)
                uniform[:, -1] = 0.0 if how == "others" else 1.0
                tiles = judged.numbers("judged tiles", place, torch.rand, damage.TILES**2)
                grain = (3, self.side, self.side)
                normal = judged.numbers("judged grain", place, torch.randn, *grain)
                images, points, _ = self._shown(
                    photos,
                    points,
                    *(x.to(self.device, run.dtype) for x in (uniform, normal)),
                    tiles.argsort(1).to(self.device),
                )
            yield images, points, *self.average.look(images)

    def samples(self) -> list[Tensor]:
        """Held-out faces with the points found, as they are and damaged."""
        rows, half = [], math.ceil(self.run.samples / 2)
        for how in ("plain", "damaged"):
            for images, _, found, _ in self._judged(how, half):
                side = 2 * images.shape[-1]
                large = F.interpolate(images, (side, side), mode="bilinear")
                rows += data.draw_points(large.float(), side * found.float()).unbind()
        return rows

    def scores(self) -> dict[str, float]:
        """Errors in % of the distance of the outer eye corners; faces and others told apart."""
        scores = {}
        for how in ("plain", "damaged", "others"):
            parts = list(self._judged(how, len(self.held_out)))
            logits = torch.cat([logits for *_, logits in parts])
            if how == "others":
                scores["others taken for faces %"] = 100 * float((logits > 0).double().mean())
                continue
            errors = torch.cat(
                [metrics.nme(points, found, OUTER_EYES) for _, points, found, _ in parts]
            )
            scores[f"error {how} %"] = 100 * float(errors.mean())
            scores[f"faces found {how} %"] = 100 * float((logits > 0).double().mean())
        return scores

    def save(self, out: Path) -> None:
        save(self.average, out / FILE)


def wing(x: Tensor) -> Tensor:
    """omega ln(1 + |x| / epsilon) within omega, |x| - C beyond (equation 5)."""
    size = x.abs()
    offset = WING - WING * math.log1p(WING / CURVATURE)
    return torch.where(size < WING, WING * torch.log1p(size / CURVATURE), size - offset)


def falling(done: float) -> float:
    """1 at the beginning, 0.01 from 1 on: half a cosine."""
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1.0))) / 2
