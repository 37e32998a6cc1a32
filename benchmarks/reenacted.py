"""Pairs of evaluation faces, and the scores of an encoder that moves sources to targets.

Legend: M faces, P pairs, N images of a batch, R side of the image, K = 68 points.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from tqdm import tqdm

from benchmarks import judges, report
from facsimile import data, editing, encoders, metrics
from facsimile.data.points68 import LINES
from facsimile.metrics.frechet import FeatureExtractor, Moments, frechet_distance, moments
from facsimile.stylegan import Generator, Latents
from facsimile.stylegan.generator import fingerprint
from facsimile.stylegan.randomness import keyed_generator

Mover = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Images (N, 3, R, R), their codes (N, L, D) and landmarks (N, K, 2), the target's (N, K, 2) ->
images (N, 3, R, R)."""


def mover(
    generator: Generator,
    encoder: nn.Module | None,
    preserve_source: bool,
    strength: float = 1.0,
) -> Mover:
    """encoder: None leaves the in-domain reconstruction as it is. strength: factor of the predicted
    difference."""

    @torch.no_grad()
    def move(
        images: Tensor, codes: Tensor, source_landmarks: Tensor, target_landmarks: Tensor
    ) -> Tensor:
        if encoder is not None and encoders.kind_of(encoder).source == "image":
            moved = editing.reenact_latents(encoder, generator, images, target_landmarks)
        else:
            moved = Latents(space="w+", code=codes, fingerprint=generator.fingerprint)
            if encoder is not None:
                preserved = source_landmarks if preserve_source else None
                moved = editing.reenact_latents(
                    encoder, generator, moved, target_landmarks, preserved
                )
                moved = replace(moved, code=torch.lerp(codes, moved.code, strength))
        return moved.synthesize(generator).clamp(-1, 1)

    return move


def pair_up(faces: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """(sources, targets), (P,) each: two different faces, and no pair twice.

    In every `faces` pairs each face is a source once and a target once. Raises ValueError if there
    are not so many pairs.
    """
    if count > faces * (faces - 1):
        raise ValueError(
            f"got {faces} faces for {count} pairs; they make {faces * (faces - 1)} at most, lower "
            "--pairs"
        )
    order = torch.randperm(faces, generator=keyed_generator("cpu", seed, "pairs"))
    number = torch.arange(count)
    rounds = number // faces
    return order[number % faces], order[(number + 1 + rounds) % faces]


@dataclass
class Pairs:
    """The faces of all rows. Landmarks are in pixels of R."""

    images: data.ImageDataset
    """All M faces, of R pixels."""
    usable: Tensor
    """Indices of those in which every network detects a face; the others are in no pair."""
    condition_landmarks: Tensor
    """(M, K, 2), the encoders' input."""
    judged: Tensor
    """(M, K, 2) by the judge."""
    codes: Tensor
    """(M, L, D) by the in-domain encoder."""
    persons: Tensor | None
    """(M, D) by the judge of identity; None if there is none."""
    source: Tensor
    """(P,) indices of faces."""
    target: Tensor
    landmark_judge: judges.LandmarkJudge
    identity_judge: judges.IdentityJudge | None
    features: FeatureExtractor
    batch: int
    device: torch.device

    @property
    def once(self) -> int:
        """Pairs until every usable face was a source once; Fréchet distances are of these."""
        return min(len(self.source), len(self.usable))

    @cached_property
    def real(self) -> Moments:
        """Of all M faces."""
        numbers = torch.arange(len(self.images)).split(self.batch)
        return moments(self.features.network(self.images_of(x)) for x in numbers)

    def images_of(self, numbers: Tensor) -> Tensor:
        """Images (N, 3, R, R) in [-1, 1]."""
        return self.images.batch(numbers, self.device, torch.float32)

    def batches(self) -> Iterator[tuple[Tensor, Tensor, bool]]:
        """(sources, targets, whether Fréchet distances and reconstructions are of these)."""
        for first, stop in ((0, self.once), (self.once, len(self.source))):
            parts = (x[first:stop].split(self.batch) for x in (self.source, self.target))
            yield from ((a, b, first == 0) for a, b in zip(*parts, strict=True) if len(a))

    def moved(self, move: Mover, sources: Tensor, target_landmarks: Tensor) -> Tensor:
        """Images (N, 3, R, R) of the sources with landmarks (N, K, 2)."""
        codes, source_landmarks = (
            x[sources].to(self.device) for x in (self.codes, self.condition_landmarks)
        )
        return move(
            self.images_of(sources), codes, source_landmarks, target_landmarks.to(self.device)
        )

    @torch.no_grad()
    def measure(self, name: str, move: Mover) -> dict:
        """Values per pair, NaN where the judge detects no face, and the two Fréchet distances."""
        values: dict[str, list[Tensor]] = {"hausdorff": [], "csim": [], "mse": []}
        redrawn, manipulated = [], []
        bar = tqdm(total=len(self.source), desc=name, unit="pair")
        for sources, targets, once in self.batches():
            images = self.moved(move, sources, self.condition_landmarks[targets])
            values["hausdorff"].append(
                self.hausdorff(self.judged[targets], self.landmark_judge(images))
            )
            values["csim"].append(self.csim(sources, images))
            if once:
                manipulated.append(self.features.network(images))
                reconstruction = self.moved(move, sources, self.condition_landmarks[sources])
                redrawn.append(self.features.network(reconstruction))
                values["mse"].append(metrics.mse(reconstruction, self.images_of(sources)))
            bar.update(len(sources))
        bar.close()
        distances = {"reconstruction": redrawn, "manipulation": manipulated}
        return {
            "per_pair": {k: torch.cat([x.cpu() for x in v]) for k, v in values.items()},
            "frechet": {k: frechet_distance(moments(x), self.real) for k, x in distances.items()},
        }

    def hausdorff(self, expected: Tensor, detected: Tensor) -> Tensor:
        """Hausdorff distance of landmarks (N, K, 2), (N,); NaN where one of them is."""
        both_valid = (expected.isfinite() & detected.isfinite()).flatten(1).all(1)
        side = self.images.resolution
        return metrics.hausdorff(expected.double(), detected.double(), side, LINES, both_valid)

    def csim(self, sources: Tensor, images: Tensor) -> Tensor:
        """Cosine of the sources' persons and those of images (N, 3, R, R); NaN where unknown."""
        if self.identity_judge is None:
            return torch.full((len(images),), torch.nan)
        return cosine_similarity(self.persons[sources], self.identity_judge(images.cpu()))

    def strangers(self) -> dict:
        """Targets compared with sources: other persons, landmarks not moved."""
        persons = torch.full((len(self.source),), torch.nan)
        if self.persons is not None:
            persons = cosine_similarity(self.persons[self.source], self.persons[self.target])
        distances = self.hausdorff(self.judged[self.target], self.judged[self.source])
        return {"per_pair": {"hausdorff": distances, "csim": persons}, "frechet": {}}


def detect_faces(
    images: data.ImageDataset,
    landmarker: data.Landmarker,
    landmark_judge: judges.LandmarkJudge,
    identity_judge: judges.IdentityJudge | None,
    batch: int,
    device: torch.device,
) -> dict[str, Tensor]:
    """condition, judged and persons of all faces, see `Pairs`; NaN where no face is detected."""
    parts: dict[str, list[Tensor]] = {}
    for numbers in tqdm(torch.arange(len(images)).split(batch), desc="faces"):
        faces = images.batch(numbers, device, torch.float32)
        with torch.no_grad():
            landmarks = landmarker(faces)
            condition = landmarks.points.where(landmarks.is_face[:, None, None], torch.nan)
            results = {"condition": condition, "judged": landmark_judge(faces)}
            if identity_judge is not None:
                results["persons"] = identity_judge(faces.cpu())
        for name, x in results.items():
            parts.setdefault(name, []).append(x.float().cpu())
    size = max((x.shape[1] for x in parts.get("persons", [])), default=0)
    # The length of a vector is unknown until the first face is detected.
    parts |= {"persons": [x.expand(-1, size) for x in parts["persons"]]} if size else {}
    return {name: torch.cat(x) for name, x in parts.items()}


@torch.no_grad()
def encode_faces(
    images: data.ImageDataset,
    embedder: encoders.InDomainEncoder,
    generator: Generator,
    batch: int,
    device: torch.device,
) -> dict[str, Tensor]:
    """codes of all faces, see `Pairs`."""
    parts = []
    for numbers in tqdm(torch.arange(len(images)).split(batch), desc="codes"):
        faces = images.batch(numbers, device, torch.float32)
        parts.append(encoders.encode(embedder, generator, faces).code.cpu())
    return {"codes": torch.cat(parts)}


class ResultCache:
    """Results in a folder, each under a hash of everything that it depends on."""

    def __init__(self, folder: Path, settings: dict):
        self.folder, self.settings = folder, settings

    def row(self, name: str, extra: dict, compute: Callable[[], dict]) -> dict:
        """A row's record, computed or read. Tensors become lists."""
        settings = self.settings | extra
        path = self.folder / f"{name.replace(' ', '_')}-{_key(settings)}.json"
        if not path.is_file():
            record = compute() | {"settings": settings}
            report.write_json(path, metrics.jsonable(record))
        return json.loads(path.read_text())

    def tensors(self, name: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        path = self.folder / f"{name}-{_key(self.settings)}.safetensors"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            save_file(compute(), part)
            part.replace(path)
        return load_file(path)


def _key(settings: dict) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def weights(network: nn.Module) -> str:
    return fingerprint(network.state_dict())
