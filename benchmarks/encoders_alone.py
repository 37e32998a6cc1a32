"""Encoders alone, before any refinement: what one pass draws of faces, and in how much time."""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro
from torch import Tensor
from torch.nn.functional import cosine_similarity

from benchmarks import faces, report
from benchmarks.bench import Bench
from benchmarks.judges import IdentityJudge, identity_judge
from benchmarks.rows import Row, machines
from facsimile import Studio, encoders
from facsimile.checkpoints import EncoderSet
from facsimile.encoders import InDomainEncoder

IN_DOMAIN = "in-domain encoder"
STEPS = 100
"""Steps of Image2StyleGAN, W+ from the mean, that the in-domain encoder alone should surpass."""
WITHOUT_ITERATIONS = "in-domain, no iterations"
WITHOUT_CRITIC = "in-domain, no iterations, no critic"


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """What every encoder beside the generator draws of faces without refinement.

    Writes the latents of every encoder, encoders.md, and encoders.png with some of the faces.
    """

    count: int = 300
    batch: int = 20
    out: Path = Path("runs/encoders-alone")
    without_critic: Path | None = None
    """An in-domain encoder that was trained without a critic, for comparison."""
    identity: Path | None = None
    """The judge of identity, see benchmarks.judges. Default: FaceNet, if its weights are there."""


def main(options: Options) -> None:
    bench = Bench.load(options)
    if options.rows_only:
        predictions(bench, options.count, options.without_critic)
        return
    judge = identity_judge(options.identity)
    lines = compare(bench, options.count, options.without_critic, judge, reference=False)
    text = "\n".join(lines)
    report.write_text(options.out / "encoders.md", text + "\n")
    print(text)


def compare(
    bench: Bench,
    count: int,
    without_critic: Path | None,
    judge: IdentityJudge | None,
    *,
    reference: bool,
) -> list[str]:
    """A table over `count` faces, and which expectations it meets; writes encoders.png.

    without_critic: an in-domain encoder that was trained without a critic. reference: whether the
    bench's own faces are also inverted by STEPS of Image2StyleGAN, for the expectations.
    """
    many, rows = predictions(bench, count, without_critic)
    images = {name: many.synthesize(row.latents) for name, row in rows.items()}
    faces.save_picture(bench.options.out / "encoders.png", {"target": many.faces.images} | images)
    columns = {"sharpness": {n: sharpness(x, many.faces.images) for n, x in images.items()}}
    if judge is not None:
        persons = judge(many.faces.images)
        cosines = {name: cosine_similarity(judge(x), persons) for name, x in images.items()}
        # Where no face is detected, the similarity is 0.
        columns["judge's cosine"] = {n: float(x.nan_to_num(0).mean()) for n, x in cosines.items()}
    return [
        f"Encoders alone, {count} faces:",
        "",
        _table(rows, columns),
        "",
        machines(list(rows.values())),
        *(findings(bench, rows) if reference and IN_DOMAIN in rows else ()),
    ]


def predictions(
    bench: Bench, count: int, without_critic: Path | None
) -> tuple[Bench, dict[str, Row]]:
    """The bench with `count` faces, and what each encoder draws of them."""
    options = bench.options
    many = faces.read(options.faces, bench.generator.resolution, count)
    many = replace(bench, faces=many.to(options.device))
    rows = {"the mean face": many.run("w+", steps=0, init="mean")}
    encoder_set = bench.studio.encoders
    if encoder_set.has("in-domain"):
        rows[IN_DOMAIN] = many.run("w+", steps=0, init="encoder")
        with TemporaryDirectory() as folder:
            alone = Path(folder) / "in-domain.safetensors"
            encoders.save(without_iterations(encoder_set.get("in-domain").network), alone)
            for name, path in ((WITHOUT_ITERATIONS, alone), (WITHOUT_CRITIC, without_critic)):
                if path is not None:
                    other = replace(many, studio=with_encoder(bench.studio, path))
                    rows[name] = other.run("w+", steps=0, init="encoder")
    if encoder_set.has("feature") or encoder_set.has("base"):
        for space in ("f/w+", "f/z+"):
            rows[f"feature encoder, {space.upper()}"] = many.run(space, steps=0, init="encoder")
    return many, rows


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


def _table(rows: dict[str, Row], columns: dict[str, dict[str, float]]) -> str:
    """columns: further values of each row, by the name of the column."""
    known = ("mse", "perceptual", "judge", "identity_distance", "same_person")
    names = [n for n in known if n in rows["the mean face"].mean]
    lines = [
        (
            name,
            *(f"{row.mean[n]:.4f}" for n in names),
            *(f"{column[name]:.2f}" for column in columns.values()),
            "" if row.seconds is None else f"{1000 * row.record['seconds_to_init']:.0f}",
        )
        for name, row in rows.items()
    ]
    return report.table(("", *names, *columns, "ms/image"), lines)


def findings(bench: Bench, rows: dict[str, Row]) -> list[str]:
    """Which expectations the encoders meet."""
    mean, guess = (rows[name].mean["mse"] for name in ("the mean face", IN_DOMAIN))
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


if __name__ == "__main__":
    main(tyro.cli(Options))
