"""The base of the reenactment recipes: networks, faces to train on, the critic, sheets and scores.

Legend: N images of a batch slice, C channels, R image resolution, L style inputs, D numbers in w,
K = 68 points.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from facsimile.data.landmark_network import FILE
from facsimile.data.landmarks import SmallLandmarker
from facsimile.stylegan import spaces
from facsimile.stylegan.generator import fingerprint
from facsimile.training import BatchSlice, Distributed

from ..adversarial import initial_critic
from ..recipe import EVAL_BATCH, EncoderRecipe
from ..targets import build_identity, identity_note
from .critics import ConcatCritic, ProjectionCritic
from .eval_grid import EvalGrid
from .faces import FacePhotos, Faces, detect_landmarks, photos_with_landmarks, sample_faces
from .landmark_cnn import render_landmarks

FAILURES = "samples without a face"
"""Name of a statistic: for each sample (N,), the attempts without a face before it."""


class ReenactmentRecipe(EncoderRecipe):
    """A kind's recipe adds the encoder (`_build`), its source, and the objective."""

    settings: Any  # with the sections `reenactment` and `r1`
    betas = (0.9, 0.99)

    def __init__(self, settings: Any, distributed: Distributed):
        path = settings.reenactment.landmark_network or distributed.landmark_network
        if path is None:
            raise ValueError(
                f"no landmark network is bundled here; give a {FILE} as --landmark-network"
            )
        self.landmarker = SmallLandmarker(path, distributed.device)
        self._landmarker_fingerprint = fingerprint(self.landmarker.network.state_dict())
        self.landmarker.network.to(settings.dtype)
        super().__init__(settings, distributed)
        network = build_identity(settings.identity, self.generator.img_channels)
        self.identity = None if network is None else network.to(self.device)
        self.photos: FacePhotos | None = None
        self._failures = self._samples = 0
        self.critic: ProjectionCritic | ConcatCritic | None = None
        if settings.reenactment.adversarial_weight:
            self.critic = self._to_device(self._build_critic())
            critic = self._trainable("critic", self.critic, uses_forward_graph=False)
            self.trainables = (critic, *self.trainables)

    def _source(self, faces: Faces) -> Tensor:
        """What the encoder takes of faces, without a gradient: images, or codes (N, L, D)."""
        raise NotImplementedError

    def _cycle_source(self, code: Tensor, image: Tensor) -> Tensor:
        """What the encoder takes on the way back: from a predicted code and its image."""
        raise NotImplementedError

    @property
    def _widths(self) -> tuple[int, int]:
        width = self.settings.width
        return width, self.settings.reenactment.max_width or 16 * width

    def _build_critic(self) -> nn.Module:
        discriminator = initial_critic(
            self.discriminator,
            self.generator.resolution,
            self.group_size,
            photos=bool(self.settings.reenactment.data),
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.settings.seed)
            if self.settings.reenactment.critic == "concat":
                return ConcatCritic(discriminator)
            return ProjectionCritic(discriminator, *self._widths, self.group_size)

    def _fingerprints(self) -> dict[str, str]:
        return super()._fingerprints() | {
            "landmark network": self._landmarker_fingerprint,
            "identity network": "none" if self.identity is None else self.identity.name,
        }

    def setup_data(self) -> str:
        """Open the photos and detect their landmarks; returns a one-line summary."""
        summary = f"{super().setup_data()}; {self.landmarker.note}"
        summary += identity_note(self.settings.identity, self.identity)
        section = self.settings.reenactment
        if section.data:
            images = self._open_photos(section.data)
            self.photos = photos_with_landmarks(
                images, section.landmark_file, self.landmarker, self.device, self.settings.dtype
            )
            return f"{self.photos.summary}; {summary}"
        for image, _ in self._eval_batches("samples", EVAL_BATCH):
            if not bool(detect_landmarks(self.landmarker, image).is_face.any()):
                raise ValueError(
                    f"no face is detected in any of {EVAL_BATCH} samples of "
                    f"{self.settings.sampling.generator}; expected a generator of faces aligned as "
                    "in FFHQ, or landmarks by --data and --landmark-file"
                )
        return summary

    # One step -------------------------------------------------------------------------------------

    def _codes(self, batch: BatchSlice, attempt: int = 0) -> tuple[Tensor, Tensor | None]:
        ws, label = super()._codes(batch, attempt)
        most = self.settings.reenactment.per_layer_w_mix
        if not most:
            return ws, label
        num_ws, suffix = self.generator.num_ws, f" {attempt}" if attempt else ""
        numbers, z_dim = self.sampler.numbers, self.generator.z_dim
        z = numbers(f"own code{suffix}", batch, torch.randn, num_ws, z_dim)
        labels = None if label is None else label.repeat_interleave(num_ws, 0)
        others = self._map(z.flatten(0, 1), labels).unflatten(0, (-1, num_ws))
        others = others.diagonal(dim1=1, dim2=2).mT  # (N, L, D), another w for each style input
        share = most * numbers(f"spread{suffix}", batch, torch.rand, 1, 1)
        share = share.to(ws)
        mean = spaces.SPACES["w+"].initial_code(self.generator, 1, "mean")
        # The mixture has the standard deviation of w.
        norm = torch.hypot(1 - share, share)
        return mean + ((1 - share) * (ws - mean) + share * (others - mean)) / norm, label

    def _faces(self, batch: BatchSlice) -> tuple[Faces, Tensor | None]:
        """(faces, attempts without a face (N,) if they are samples)."""
        if self.photos is not None:
            return self.photos.faces(self.sampler, batch), None
        return sample_faces(
            lambda attempt: self._codes(batch, attempt), self._sample_images, self.landmarker
        )

    def record(self, statistics: dict[str, Tensor]) -> None:
        """Count the attempts without a face."""
        failures = statistics[FAILURES]
        self._failures += int(failures.sum())
        self._samples += len(failures)

    def _predict(self, encoder: nn.Module, source: Tensor, embedding: Tensor) -> Tensor:
        with self.settings.autocast(self.device):
            return encoder.predict(source, embedding)

    def _synthesize(self, code: Tensor) -> Tensor:
        with self.settings.autocast(self.device):
            return self.generator.synthesize(code).to(self.settings.dtype)

    def _critic_embedding(self, landmarks: Tensor) -> Tensor:
        assert self.critic is not None
        resolution = self.generator.resolution
        with self.settings.autocast(self.device):
            rendered = render_landmarks(landmarks, resolution, resolution)
            return self.critic.embed_landmarks(rendered)

    def _discriminate(self, image: Tensor, embedding: Tensor, label: Tensor | None) -> Tensor:
        """Logits (N, 1) of the critic."""
        assert self.critic is not None
        with self.settings.autocast(self.device):
            label = label if self.critic.discriminator.config.c_dim else None
            return self.critic(image, embedding, label).to(self.settings.dtype)

    # Evaluation -----------------------------------------------------------------------------------

    def extra_metrics(self) -> dict[str, float]:
        """Samples without a face, which others replaced, per sample that was trained on."""
        if not self._samples:
            return {}
        share = self._failures / self._samples
        self._failures = self._samples = 0
        return {FAILURES: share}

    @torch.no_grad()
    def _eval_grids(self, source: str, count: int) -> Iterator[EvalGrid]:
        """Held-out faces, in batches: with their landmarks, with those of the next, and back."""
        encoder = self.ema
        for image, ws in self._eval_batches(source, count):
            detected = detect_landmarks(self.landmarker, image)
            if int(detected.is_face.sum()) < 2:
                continue
            image, ws, landmarks = (x[detected.is_face] for x in (image, ws, detected.points))
            faces = Faces(image, landmarks, ws if source == "samples" else None, None)
            given = self._source(faces)
            embedding = encoder.embed_landmarks(landmarks)
            code, reenacted_code = (
                encoder.predict(given, x) for x in (embedding, embedding.roll(-1, 0))
            )
            reenacted = self._eval_image(reenacted_code)
            back = encoder.predict(self._cycle_source(reenacted_code, reenacted), embedding)
            code_before, image_before = self._eval_source(given, code)
            yield EvalGrid(
                image=image,
                landmarks=landmarks,
                source=image_before,
                unchanged=self._eval_image(code),
                reenacted=reenacted,
                cycle=self._eval_image(back),
                cycle_error=(back - code_before).square().mean((1, 2)),
            )

    def _eval_source(self, source: Tensor, code: Tensor) -> tuple[Tensor, Tensor | None]:
        """(code with which the cycle is compared, the image of the source's code if it has one).

        source: what the encoder takes; code: its prediction with the source's landmarks.
        """
        raise NotImplementedError

    def _eval_image(self, code: Tensor) -> Tensor:
        return self.generator.synthesize(code).clamp(-1, 1)

    def sample_grid(self) -> list[Tensor]:
        """See `EvalGrid.rows`; held-out samples, then photos."""
        count = self.settings.evaluation.num_samples
        grids = (x for source in self._eval_sets() for x in self._eval_grids(source, count))
        return [image for grid in grids for image in grid.rows()]

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Means over held-out samples, and over photos: see `EvalGrid.measures`."""
        scores: dict[str, float] = {}
        for source in self._eval_sets():
            grids = self._eval_grids(source, self.settings.evaluation.eval_images)
            parts = [grid.measures(self.landmarker) for grid in grids]
            if parts:
                means = {k: float(torch.cat([part[k] for part in parts]).mean()) for k in parts[0]}
                means["nme ratio"] = means["nme"] / means["nme source"]
                scores |= {f"{source}/{name}": value for name, value in means.items()}
        return scores
