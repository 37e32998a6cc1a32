"""Encoders alone, before any refinement."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from benchmarks import faces, report
from benchmarks.bench import Bench, Row
from facsimile import Studio, encoders
from facsimile.checkpoints import EncoderSet
from facsimile.encoders import InDomainEncoder

STEPS = 100
"""Steps of Image2StyleGAN, W+ from the mean, that the in-domain encoder alone should surpass."""
WITHOUT_ITERATIONS = "in-domain, no iterations"
WITHOUT_CRITIC = "in-domain, no iterations, no critic"


def compare(bench: Bench, count: int, without_critic: Path | None) -> list[str]:
    """A table over `count` faces, and which expectations it meets; writes encoders.png.

    without_critic: an in-domain encoder that was trained without a critic.
    """
    options = bench.options
    many = faces.read(options.faces, bench.generator.resolution, count)
    many = replace(bench, faces=replace(many, images=many.images.to(options.device)))
    rows = {
        "the mean face": many.run("w+", steps=0, init="mean"),
        "in-domain encoder": many.run("w+", steps=0, init="encoder"),
        "feature encoder, F/Z+": many.run("f/z+", steps=0, init="encoder"),
    }
    with TemporaryDirectory() as folder:
        alone = Path(folder) / "in-domain.safetensors"
        encoders.save(without_iterations(bench.studio.encoders.get("in-domain").network), alone)
        for name, path in ((WITHOUT_ITERATIONS, alone), (WITHOUT_CRITIC, without_critic)):
            if path is not None:
                other = replace(many, studio=with_encoder(bench.studio, path))
                rows[name] = other.run("w+", steps=0, init="encoder")
    images = {name: many.synthesize(row.latents) for name, row in rows.items()}
    faces.save_picture(options.out / "encoders.png", {"target": many.faces.images} | images)
    sharp = {name: sharpness(x, many.faces.images) for name, x in images.items()}
    return [f"Encoders alone, {count} faces:", "", _table(rows, sharp), "", *_findings(bench, rows)]


def with_encoder(studio: Studio, path: Path) -> Studio:
    """The studio with the encoder of a file alone."""
    encoder_set = EncoderSet(studio.generator, named=path)
    return Studio(studio.generator, perceptual=studio.perceptual, encoders=encoder_set)


def without_iterations(network: InDomainEncoder) -> InDomainEncoder:
    """The same encoder without its iterations, if it has any."""
    alone = InDomainEncoder(replace(network.config, iterations=0, feature_net=None))
    state = network.state_dict().items()
    alone.load_state_dict({k: v for k, v in state if not k.startswith("descent.")})
    return alone


def sharpness(images: Tensor, targets: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels, relative to that of the targets."""
    a, b = (x.diff(dim=2).abs().mean() + x.diff(dim=3).abs().mean() for x in (images, targets))
    return float(a / b)


def _table(rows: dict[str, Row], sharp: dict[str, float]) -> str:
    names = [n for n in ("mse", "perceptual", "judge") if n in rows["the mean face"].mean]
    lines = [
        (
            name,
            *(f"{row.mean[n]:.4f}" for n in names),
            f"{sharp[name]:.2f}",
            f"{1000 * row.record['seconds_to_init']:.0f}",
        )
        for name, row in rows.items()
    ]
    return report.table(("", *names, "sharpness", "ms/image"), lines)


def _findings(bench: Bench, rows: dict[str, Row]) -> list[str]:
    mean, guess = (rows[name].mean["mse"] for name in ("the mean face", "in-domain encoder"))
    claims = [
        (f"in-domain MSE at most half the mean face's ({guess:.4f}, {mean:.4f})", guess <= mean / 2)
    ]
    few = {"alone": bench.run("w+", steps=0, init="encoder")}
    few["steps"] = bench.run("image2stylegan", steps=STEPS, init="mean")
    for name in ("perceptual", "judge"):
        if name in few["alone"].mean:
            a, b = few["alone"].mean[name], few["steps"].mean[name]
            what = f"in-domain {name} below {STEPS} steps of Image2StyleGAN ({a:.4f}, {b:.4f})"
            claims.append((what, a < b))
    if WITHOUT_CRITIC in rows and "judge" in rows[WITHOUT_ITERATIONS].mean:
        a, b = rows[WITHOUT_ITERATIONS].mean["judge"], rows[WITHOUT_CRITIC].mean["judge"]
        claims.append(
            (f"judge without iterations below that without critic ({a:.4f}, {b:.4f})", a < b)
        )
    return [f"{'holds' if is_met else 'FAILS'}: {claim}" for claim, is_met in claims]
