"""Inpainting: known pixels, the hole beside a method that knows no faces, and how solutions differ.

"Image2StyleGAN++", Table 1: ten images, seven masks, up to half of the image missing.

Legend: N faces, K solutions of each, R side of the image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from skimage.metrics import structural_similarity
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from benchmarks import faces, report
from benchmarks.bench import Bench
from facsimile import encoders, metrics
from facsimile.data.masks import make_mask

MASKS = {
    "left half": "box:0,0,0.5,1",
    "lower half": "box:0,0.5,1,1",
    "middle": "box:0.25,0.25,0.75,0.75",
    "eyes": "box:0.2,0.38,0.8,0.55",
    "nose and mouth": "box:0.3,0.5,0.7,0.85",
    "mouth": "box:0.32,0.65,0.68,0.82",
    "right eye": "box:0.52,0.4,0.75,0.54",
}
LARGE = 0.25
"""Of the image: the least share that is missing under a large mask."""


@dataclass(frozen=True, kw_only=True)
class Options(faces.Options):
    """Inpaint faces under seven masks, several times each.

    Known pixels, pixels in the hole, and both for a method without a generator (OpenCV's where it
    is installed, else scikit-image's). Writes inpainting.md, and inpainting.png of the first face.
    """

    count: int = 10
    solutions: int = 3
    masks: tuple[str, ...] = tuple(MASKS)
    batch: int = 8
    paper: bool = False
    """The paper's numbers of steps."""
    out: Path = Path("runs/inpainting")


def main(options: Options) -> None:
    bench = Bench.load(options)
    rows, pictures = [], {"target": bench.faces.images[:1]}
    for name in options.masks:
        row, images = compare(bench, MASKS[name], options)
        rows.append((name, *row))
        pictures[name] = images[: options.solutions]
        print(report.table(("mask", *COLUMNS), rows))
    text = report.table(("mask", *COLUMNS), rows)
    report.write_text(options.out / "inpainting.md", text + "\n")
    faces.save_picture(options.out / "inpainting.png", pictures)


COLUMNS = (
    "missing",
    "known, dB",
    "hole, dB",
    "without faces, dB",
    "hole, SSIM",
    "without faces, SSIM",
    "solutions differ",
    "agree outside, dB",
    "seam",
)


def compare(bench: Bench, mask: str, options: Options) -> tuple[tuple[str, ...], Tensor]:
    """The values of COLUMNS, means over faces, and the images (N * K, 3, R, R)."""
    targets, k = bench.faces.images, options.solutions
    hole = make_mask(mask, targets.cpu()).mask
    results = []
    for photos in targets.split(options.batch):
        encoder = bench.studio.encoders.get("in-domain").network
        with torch.no_grad():
            start = encoders.encode(encoder, bench.generator, photos, "w+")
        parameters = {"mask": mask, "solutions": k, "paper": options.paper}
        results.append(bench.studio.edit(start, "inpaint", targets=[photos], **parameters).images)
    images = torch.cat(results)
    first, x = images[::k], targets.cpu()
    blind = fill_in(x, hole, filler())
    solutions = images.unflatten(0, (len(x), k))
    spread = (solutions.std(1) * hole).sum((1, 2, 3)) / (3 * hole.sum((1, 2, 3)))
    agree = metrics.psnr(solutions[:, 0], solutions[:, -1], 1 - hole)
    values = (
        float(hole.mean()),
        psnr_mean(first, x, 1 - hole),
        psnr_mean(first, x, hole),
        psnr_mean(blind, x, hole),
        ssim_inside(first, x, hole),
        ssim_inside(blind, x, hole),
        float(spread.mean()),
        float(agree.mean()),
        float((across_seam(first, hole) / across_seam(x, hole)).mean()),
    )
    digits = (2, 1, 2, 2, 3, 3, 3, 1, 2)
    return tuple(f"{v:.{d}f}" for v, d in zip(values, digits, strict=True)), images


def psnr_mean(images: Tensor, targets: Tensor, mask: Tensor) -> float:
    return float(metrics.psnr(images, targets, mask).mean())


def ssim_inside(images: Tensor, targets: Tensor, mask: Tensor) -> float:
    """Mean over the pixels of the mask of scikit-image's SSIM map."""
    values = []
    for image, target, inside in zip(images, targets, mask, strict=True):
        a, b = (x.permute(1, 2, 0).numpy() for x in (image, target))
        _, ssim = structural_similarity(a, b, channel_axis=2, data_range=2.0, full=True)
        values.append(float(ssim[inside[0].numpy() > 0].mean()))
    return sum(values) / len(values)


def across_seam(images: Tensor, mask: Tensor) -> Tensor:
    """(N,) mean absolute difference of neighbours of which one is inside the mask (N, 1, R, R)."""
    total, count = torch.zeros(len(images)), torch.zeros(len(images))
    for axis in (2, 3):
        crosses = mask.diff(dim=axis).abs()
        total += (images.diff(dim=axis).abs().mean(1, keepdim=True) * crosses).sum((1, 2, 3))
        count += crosses.sum((1, 2, 3))
    return total / count


Filler = Callable[[np.ndarray, np.ndarray], np.ndarray]


def filler() -> Filler:
    """(image (R, R, 3) uint8, hole (R, R) bool) -> the image, filled in without a generator."""
    try:
        import cv2
    except ImportError:
        return lambda image, hole: (
            255 * inpaint_biharmonic(image / 255, hole, channel_axis=2)
        ).astype(np.uint8)
    return lambda image, hole: cv2.inpaint(image, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)


def fill_in(images: Tensor, mask: Tensor, fill: Filler) -> Tensor:
    filled = []
    for image, hole in zip(images, mask, strict=True):
        pixels = ((image.permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).byte().numpy()
        result = fill(np.ascontiguousarray(pixels), hole[0].numpy() > 0)
        filled.append(torch.from_numpy(result).permute(2, 0, 1) / 127.5 - 1)
    return torch.stack(filled).to(images)


if __name__ == "__main__":
    main(tyro.cli(Options))
