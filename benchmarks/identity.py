"""The identity term: how it is weighted, and what it costs in pixel error.

Another network than that of the term judges the results: what the term gains by its own measure, it
gains in part against that network alone.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro
from torch import Tensor
from torch.nn.functional import cosine_similarity

from benchmarks import faces, report
from benchmarks.bench import Bench
from benchmarks.judges import identity_judge
from benchmarks.rows import Row, machines, seconds_cell
from facsimile import metrics
from facsimile.refine import Term, recipes, terms
from facsimile.refine.loss_inputs import LossInputs
from facsimile.refine.recipes.identity import with_identity


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """Refine the same faces without the identity term, with it, and with terms of fixed weights.

    Every recipe starts at its encoder's prediction. Prints a table; writes a JSON and the latents
    of every row, identity.json, identity.md and identity.png.
    """

    out: Path = Path("runs/identity")
    steps: int = 100
    recipes: tuple[str, ...] = ("w+", "f/z+")
    weights: tuple[float, ...] = (1.0, 3.0, 6.0)
    """Of the term, which is relative to the pixel error that is left."""
    fixed: tuple[float, ...] = (0.1, 0.03)
    """Of the squared distance of the embeddings alone."""
    identity: Path | None = None
    """The judge of identity, see benchmarks.judges. Default: FaceNet, if its weights are there."""


@terms.register(networks=("identity",), prepare=terms.get("identity").prepare)
def fixed_identity(inputs: LossInputs, term: Term) -> Tensor:
    """|e(G) - e(x)|^2, e the embedding."""
    embeddings, shows_face = inputs.target_features(term)
    embedding = inputs.network("identity").embed(inputs.image)
    return shows_face * (embedding - embeddings).square().sum(1)


def main(options: Options) -> None:
    bench = Bench.load(options)
    names = variants(options)
    rows = {}
    for recipe in options.recipes:
        for name in (recipe, *(f"{recipe} {suffix}" for suffix in names)):
            rows[name] = bench.run(name, init="encoder")
    if options.rows_only:
        return
    judge, cosines = identity_judge(options.identity), {}
    if judge is not None:
        people = judge(bench.faces.images)
        for name, row in rows.items():
            cosines[name] = cosine_similarity(judge(bench.synthesize(row.latents)), people)
    records = [
        describe(row, rows[name.split()[0]], cosines.get(name)) for name, row in rows.items()
    ]
    text = f"{table(records)}\n\n{machines(list(rows.values()))}"
    report.write_text(options.out / "identity.md", text + "\n")
    report.write_json(options.out / "identity.json", metrics.jsonable(records))
    print(text)
    pictures = {name: bench.synthesize(row.latents) for name, row in rows.items()}
    faces.save_picture(options.out / "identity.png", {"target": bench.faces.images} | pictures)


def variants(options: Options) -> list[str]:
    """Suffixes of recipes, registered here, one for each weight."""
    names = []
    for term, weights in (("identity", options.weights), ("fixed_identity", options.fixed)):
        for weight in weights:
            name = f"+{term.replace('_', '-')}-{weight:g}"
            if name not in recipes.SUFFIXES:
                suffix = partial(with_identity, term=Term(term, weight))
                recipes.register_suffix(name, suffix)
            names.append(name)
    return names


def describe(row: Row, plain: Row, cosines: Tensor | None) -> dict:
    """plain: the same recipe without the term. cosines: the judge's, (N,), NaN for no face."""
    return {
        "name": row.name,
        "mean": row.mean,
        "mse_change": row.mean["mse"] / plain.mean["mse"] - 1,
        "judge": None if cosines is None else cosines.tolist(),
        "judge_mean": None if cosines is None else cosines.nanmean().item(),
        "seconds": seconds_cell(row),
    }


def table(records: list[dict]) -> str:
    head = ("", "MSE", "change", "its distance", "same person", "judge's cosine", "s/image")
    lines = []
    for x in records:
        mean, judged = x["mean"], x["judge_mean"]
        people = (f"{mean['identity_distance']:.3f}", f"{mean['same_person']:.2f}")
        scores = (f"{mean['mse']:.4f}", f"{x['mse_change']:+.1%}", *people)
        judged = "" if judged is None else f"{judged:.3f}"
        lines.append((x["name"], *scores, judged, x["seconds"]))
    return report.table(head, lines)


if __name__ == "__main__":
    main(tyro.cli(Options))
