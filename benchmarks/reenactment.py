"""The paper's ablation of reenactment, for one generator, beside the paper's own numbers.

"Learning an Encoder for Image Editing within a StyleGAN Latent Space", its table of models.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import Tensor

from benchmarks import judges, reenactment_sheets, report
from benchmarks.faces import Faces
from benchmarks.reenacted import (
    Pairs,
    ResultCache,
    detect_faces,
    encode_faces,
    mover,
    pair_up,
    weights,
)
from benchmarks.reenactment_rows import PAPER, ROWS, STILL, STRANGERS, Paper, trained
from facsimile import checkpoints, data, metrics
from facsimile.checkpoints import Networks
from facsimile.editing.reenactment import SOURCE_SIGMA
from facsimile.metrics.frechet import build_features

HAUSDORFF_RATIO, CSIM_RATIO, MSE_RATIO = 0.5, 2.0, 1.1
"""Limits of the findings: Hausdorff distance relative to the unmoved source, CSIM relative to
random pairs, MSE with the source's landmarks relative to the unmoved source."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Move evaluation faces to the landmarks of others with every encoder, and print the table.

    Writes a JSON of every row as soon as it is done, reenactment.md, reenactment.json, sheet.png
    (source, target, each result) and motions.png (the model card's: 6 sources by 8 targets, as
    facsimile reenact draws them). Needs an in-domain encoder.
    """

    faces: tyro.conf.Positional[Path]
    """Folder or .zip of aligned, square faces that no network was trained on."""
    runs: tuple[str, ...] = ()
    """The trained encoders: folders of runs of train.py, or files. Which row each is, the run's
    config.json says; without one, or for a row of another name, write NAME=PATH. The paper's rows:
    naive; naive + image cycle; difference + image cycle; keypoint + latent cycle; difference +
    latent cycle."""
    in_domain: Path | None = None
    """The in-domain encoder. Default: the one beside the generator."""
    generator: str = "faces"
    """Name of a bundled generator, a file, or a folder with generator.safetensors."""
    landmark_network: Path = checkpoints.LANDMARKS
    """The landmark detector that the encoders were trained with."""
    identity: Path | None = None
    """The judge: a Python file with identity(image) and landmarks68(image), see benchmarks.judges;
    or FaceNet's weights. Default: FaceNet, if its weights are available, and the landmarks of
    --landmark-network."""
    pairs: int = 500
    """Pairs of a source and a target, two different faces; a face may be in several."""
    seed: int = 0
    preserve_source: bool = False
    """Subtract the difference that the source's landmarks give, close to them, as facsimile reenact
    does; otherwise the paper's w + d."""
    strength: float = 1.0
    """Factor of the predicted differences, to compare encoders that move equally far."""
    frechet: Literal["auto", "inception", "squeezenet", "discriminator"] = "auto"
    """Features, as in benchmarks.distance: auto, inception, squeezenet, discriminator."""
    frechet_weights: Path | None = None
    """Local file of SqueezeNet 1.1's ImageNet weights."""
    batch: int = 16
    out: Path = Path("runs/reenactment")
    """Folder of the results. What is done there under the same settings is not done again."""
    device: str = "cpu"
    threads: int | None = None
    """CPU threads; None: PyTorch's choice."""


def main(options: Options) -> None:
    report.prepare(options.device, options.threads)
    named = () if options.in_domain is None else (options.in_domain,)
    checkpoint = checkpoints.find(options.generator, options.device, named)
    networks = trained(options.runs, checkpoint)
    pairs, cache, notes = prepare(options, checkpoint)
    movers = {
        name: mover(checkpoint.generator, network, options.preserve_source, options.strength)
        for name, network in ({STILL: None} | networks).items()
    }
    records = {}
    for name, move in movers.items():
        network = networks.get(name)
        extra = {"encoder": "none" if network is None else weights(network)}
        records[name] = cache.row(name, extra, lambda n=name, m=move: pairs.measure(n, m))
    records[STRANGERS] = cache.row(STRANGERS, {}, pairs.strangers)
    records = {name: records[name] for name in (*PAPER, *records) if name in records}
    missing = [name for name in ROWS if name not in records]
    notes += [f"left out, as --runs has none: {', '.join(missing)}"] if missing else []
    text = "\n".join(
        [*notes, "", table(records, pairs.features.name), "", *findings(records, tuple(networks))]
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "reenactment.md").write_text(text + "\n")
    report.write_json(
        options.out / "reenactment.json",
        {"rows": {k: summary(x) for k, x in records.items()}, "notes": notes}
        | {"paper": {k: x._asdict() for k, x in PAPER.items()}}
        | {"settings": cache.settings, "machine": report.machine(options.device)},
    )
    print(text)
    reenactment_sheets.pairs(options.out / "sheet.png", pairs, movers)
    if networks:
        # The paper's method if it is there, otherwise the last one.
        name = ROWS[-1] if ROWS[-1] in networks else tuple(networks)[-1]
        move = mover(checkpoint.generator, networks[name], preserve_source=True)
        reenactment_sheets.motions(options.out / "motions.png", pairs, move)


def prepare(options: Options, checkpoint: Networks) -> tuple[Pairs, ResultCache, list[str]]:
    """The pairs, the cache of results, and notes about both."""
    device, generator = torch.device(options.device), checkpoint.generator
    images = data.load_images([options.faces], generator.resolution)
    landmarker = data.landmarker("small", small=options.landmark_network, device=device)
    landmark_judge, source_note = judges.landmark_judge(options.identity, landmarker)
    identity_judge = judges.identity_judge(options.identity)
    feature_network = build_features(
        options.frechet, checkpoint.discriminator, options.frechet_weights
    )
    hashed = Faces(list(images.names), images.pixels)
    seen_by = {
        "faces": hashed.fingerprint,
        "landmarks": f"{weights(landmarker.network)}, and mirrored",
        "judge": judges.name(options.identity) if identity_judge is not None else "none",
        "device": device.type,
    }
    detections = ResultCache(options.out, seen_by).tensors(
        "faces",
        lambda: detect_faces(
            images, landmarker, landmark_judge, identity_judge, options.batch, device
        ),
    )
    embedder = checkpoint.encoders.get("in-domain")
    codes = ResultCache(options.out, seen_by | {"in_domain": embedder.fingerprint}).tensors(
        "codes", lambda: encode_faces(images, embedder.network, generator, options.batch, device)
    )
    good = torch.stack([x.isfinite().flatten(1).all(1) for x in detections.values()]).all(0)
    usable = good.nonzero()[:, 0]
    sources, targets = pair_up(len(usable), options.pairs, options.seed)
    pairs = Pairs(
        images=images,
        usable=usable,
        condition_landmarks=detections["condition"],
        judged=detections["judged"],
        codes=codes["codes"],
        persons=detections.get("persons"),
        source=usable[sources],
        target=usable[targets],
        landmark_judge=landmark_judge,
        identity_judge=identity_judge,
        features=feature_network,
        batch=options.batch,
        device=device,
    )
    settings = (
        seen_by
        | {
            "generator": generator.fingerprint,
            "in_domain": embedder.fingerprint,
            "pairs": options.pairs,
            "seed": options.seed,
            "preserve_source": options.preserve_source and SOURCE_SIGMA,
            "frechet": feature_network.name,
        }
        | ({} if options.strength == 1 else {"strength": options.strength})
    )
    judge_name = options.identity.name if options.identity else "FaceNet"
    left = len(images) - len(usable)
    notes = [
        f"{len(images)} faces, {left} left out, because a network detects no face in them; "
        f"{options.pairs} pairs",
        f"{feature_network.note}; of {pairs.once} images each, to the {len(images)} faces",
        source_note,
        "on the faces themselves they differ from the encoders' input by a Hausdorff distance of "
        f"{float(pairs.hausdorff(pairs.judged, pairs.condition_landmarks)[usable].mean()):.3f}",
        f"identity (CSIM): {'none' if identity_judge is None else judge_name}",
    ]
    return pairs, ResultCache(options.out, settings), notes


# Report -------------------------------------------------------------------------------------------


def values(record: dict, name: str) -> Tensor:
    """(P,) of a record, NaN where the judge detected no face."""
    return torch.tensor([float(x) for x in record["per_pair"].get(name, [])], dtype=torch.float64)


def summary(record: dict) -> dict:
    """Means, and results without a face; None for what was not measured."""
    means: dict = dict(record["frechet"])
    for name in record["per_pair"]:
        mean, failed = metrics.nanmean_with_failures(values(record, name))
        means[name] = None if mean != mean else mean
        means[f"{name} without a face"] = failed
    return means


def table(records: dict[str, dict], distance: str) -> str:
    head = ("", f"{distance} rec", "man", "Hausdorff", "CSIM", "MSE source", "no face")
    head += ("paper: FID rec", "FID man", "Hausdorff", "CSIM")
    lines = []
    for name, record in records.items():
        means = summary(record)
        ours = [
            _number(means.get("reconstruction")),
            # An unmoved source is no manipulation.
            _number(None if name == STILL else means.get("manipulation")),
            *(_number(means.get(x), 3) for x in ("hausdorff", "csim")),
            _number(means.get("mse"), 4),
            str(means["hausdorff without a face"]),
        ]
        paper = PAPER.get(name, Paper(None, None, None, None))
        theirs = [_number(x) for x in paper[:2]] + [_number(x, 3) for x in paper[2:]]
        lines.append((name, *ours, *theirs))
    return report.table(head, lines)


def _number(value: float | None, digits: int = 1) -> str:
    if value is None:
        return ""
    # A distance on other features than InceptionV3's may be far below 1.
    return f"{value:.{digits}f}" if abs(value) >= 1 or digits > 1 else f"{value:.3g}"


def findings(records: dict[str, dict], names: tuple[str, ...]) -> list[str]:
    """Whether each encoder moves the face, preserves identity, and leaves the rest."""
    lines = []
    for name in names:
        claims = [
            (
                "hausdorff",
                STILL,
                "Hausdorff at most half of the unmoved source's",
                HAUSDORFF_RATIO,
            ),
            ("csim", STRANGERS, "CSIM at least twice that of random pairs", CSIM_RATIO),
            (
                "mse",
                STILL,
                "source's landmarks: MSE within 10 % of the unmoved source's",
                MSE_RATIO,
            ),
        ]
        for what, other, claim, limit in claims:
            ours, theirs = both(values(records[name], what), values(records[other], what))
            if not len(ours):
                lines.append(f"unknown: {name}, {claim} (not judged)")
                continue
            a, b = float(ours.mean()), float(theirs.mean())
            is_met = a >= limit * b if what == "csim" else a <= limit * b
            lines.append(f"{'holds' if is_met else 'FAILS'}: {name}, {claim} ({a:.4f}, {b:.4f})")
    return lines


def both(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The values (P,) of pairs that both of them have."""
    known = ~(a.isnan() | b.isnan())
    return a[known], b[known]


if __name__ == "__main__":
    main(tyro.cli(Options))
