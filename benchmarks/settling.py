"""Steps until an image settles, by what it shows: faces, and pictures that are none.

"Image2StyleGAN", section 5.3: faces settle near 1,000 of 5,000 steps, cats, dogs and cars near
3,000, paintings near 5,000.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
import tyro
from PIL import Image

from benchmarks import faces, report
from benchmarks.bench import SETTLED, Bench
from benchmarks.rows import Row, machines
from facsimile import data

RECIPE = "image2stylegan"
PICTURES = {"cat": "a cat", "coffee": "a cup", "rocket": "a rocket", "retina": "a retina"}
"""Of scikit-image, cut to their middle square."""
PHOTOGRAPHS = {"flower.jpg": "a flower", "china.jpg": "a temple"}
"""Of scikit-learn, if it is installed."""


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """Invert faces and other pictures by Image2StyleGAN, and count the steps until they settle.

    An image has settled once its loss is at most 5 % above that of the end. Writes settling.md and
    settling.png, of the other pictures.
    """

    count: int = 24
    steps: int = 5000
    batch: int = 8
    out: Path = Path("runs/settling")


def main(options: Options) -> None:
    bench = Bench.load(options)
    other = replace(bench, faces=pictures(bench.generator.resolution).to(options.device))
    rows = {"faces": bench.run(RECIPE), "other pictures": other.run(RECIPE)}
    if options.rows_only:
        return
    text = f"{table(rows, other.faces.names)}\n\n{machines(list(rows.values()))}"
    report.write_text(options.out / "settling.md", text + "\n")
    print(text)
    images = {"target": other.faces.images, "W+": other.synthesize(rows["other pictures"].latents)}
    faces.save_picture(options.out / "settling.png", images)


def pictures(side: int) -> faces.Faces:
    """The pictures that show no face, at side x side."""
    named = dict(named_pictures())
    squares = [data.fit_square(middle_square(picture), side) for picture in named.values()]
    return faces.Faces(list(named), torch.stack([data.to_tensor(x) for x in squares]))


def middle_square(picture: Image.Image) -> Image.Image:
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    return picture.crop((left, top, left + side, top + side))


def named_pictures() -> Iterator[tuple[str, Image.Image]]:
    import skimage.data

    for name, title in PICTURES.items():
        yield title, Image.fromarray(getattr(skimage.data, name)())
    try:
        from sklearn.datasets import load_sample_image
    except ImportError:
        return
    for name, title in PHOTOGRAPHS.items():
        yield title, Image.fromarray(load_sample_image(name))


def table(rows: dict[str, Row], names: list[str]) -> str:
    """A line for all faces, and one for each other picture."""
    lines = []
    for name, row in rows.items():
        settle, mse = row.record["steps_to_settle"], row.record["per_image"]["mse"]
        if name == "faces":
            middle, least, most = (f(settle) for f in (median, min, max))
            lines.append((name, f"{middle:.0f}", f"{least} to {most}", f"{median(mse):.4f}"))
        else:
            lines += [
                (title, str(steps), "", f"{error:.4f}")
                for title, steps, error in zip(names, settle, mse, strict=True)
            ]
    return report.table(("", f"steps to {1 + SETTLED:.2f} of the last loss", "range", "MSE"), lines)


if __name__ == "__main__":
    main(tyro.cli(Options))
