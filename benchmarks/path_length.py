"""Perceptual path length: of whole codes, and of an attribute inside a mask.

"Image2StyleGAN++: How to Edit the Embedded Images?", Table 3: the masked path is the attribute
transfer of a donor whose code alone is interpolated; base, mask and noise stay.

    l = mean of d(P(t), P(t + eps)) / eps^2;  "full": t in U[0, 1], "end": t = 0
    whole   P(t) = G(w(t)),  w(t) from f(z_1) to f(z_2)
    masked  P(t) = G(w_b) with the layer's activation of w(t) inside the mask

Legend: N samples of a batch, L style inputs, D numbers in w, R side of the image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor

import facsimile
from benchmarks import faces, report
from benchmarks.inpainting import MASKS
from facsimile import metrics
from facsimile.data.masks import make_mask
from facsimile.editing.activations import LAYER, activation, attributes, with_activation
from facsimile.stylegan import Generator, Latents
from facsimile.stylegan.randomness import keyed_generator

PAPER = {"whole": (227.1, 191.1), "masked": (112.1, 89.8)}
"""Full and end, for FFHQ at 1024 px by LPIPS of VGG16, mean of its first and seventh mask."""
WHOLE = "whole"
OUTLIERS = 0.01
"""Share of the smallest and of the largest values that is left out, each."""

Path_ = Callable[[Tensor], Tensor]
"""t (N,) -> images (N, 3, R, R)."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure the path length of interpolations between random codes, whole and masked.

    Needs no faces. Writes path_length.md, and path_length.png of three paths.
    """

    samples: int = 1000
    eps: float = 1e-4
    masks: tuple[str, ...] = (next(iter(MASKS)), list(MASKS)[-1])
    """Of benchmarks.inpainting; the paper takes the first and the seventh of its own."""
    layer: str = str(LAYER.default)
    batch: int = 8
    seed: int = 0
    out: Path = Path("runs/path-length")
    generator: str = "faces"
    """Name of a bundled generator, a file, or a folder with generator.safetensors."""
    perceptual: str = "discriminator"
    """The distance; a name of metrics.build_perceptual. The paper's is lpips-vgg."""
    judge: Path | None = None
    """SqueezeNet 1.1 weights with torchvision's names: a second distance."""
    device: str = "cpu"
    threads: int | None = None
    """CPU threads; None: PyTorch's choice."""


@torch.no_grad()
def main(options: Options) -> None:
    report.prepare(options.device, options.threads)
    studio = facsimile.load(options.generator, perceptual=options.perceptual, device=options.device)
    networks = [] if studio.perceptual is None else [studio.perceptual]
    if options.judge is not None:
        networks.append(metrics.squeezenet_features(options.judge).to(options.device))
    if not networks:
        raise ValueError("there is no distance; choose one by --perceptual or --judge")
    lengths = {name: measure(studio.generator, options, name, networks) for name in names(options)}
    text = table([network.name for network in networks], lengths)
    report.write_text(options.out / "path_length.md", text + "\n")
    print(text)
    t = torch.linspace(0, 1, faces.SHOWN, device=studio.device)
    sheet = {}
    for name in names(options):
        for number in range(2 if name == WHOLE else 1):
            path = path_of(studio.generator, options, name, [number] * len(t))
            sheet[f"{name}, {number + 1}"] = path(t).clamp(-1, 1)
    faces.save_picture(options.out / "path_length.png", sheet)


def names(options: Options) -> list[str]:
    return [WHOLE, *options.masks]


def measure(
    generator: Generator, options: Options, name: str, networks: list[metrics.Perceptual]
) -> Tensor:
    """(networks, 2): the full and the end length of one kind of path."""
    measured = []
    for numbers in torch.arange(options.samples).split(options.batch):
        path = path_of(generator, options, name, numbers.tolist())
        t = torch.stack([random_numbers(options, "t", int(i), 1, uniform=True)[0] for i in numbers])
        lengths = []
        for start in (t, torch.zeros_like(t)):
            ends = [face_of(path(x.to(generator.device))) for x in (start, start + options.eps)]
            lengths.append(torch.stack([network(*ends) for network in networks]).cpu().double())
        measured.append(torch.stack(lengths, 1) / options.eps**2)
    return trimmed_mean(torch.cat(measured, 2))


def path_of(generator: Generator, options: Options, name: str, numbers: list[int]) -> Path_:
    """The paths of these samples, each by its own number."""
    first, second, base = (codes(generator, options, end, numbers) for end in ("a", "b", "base"))

    def between(t: Tensor) -> Latents:
        return latents(generator, torch.lerp(first, second, t[:, None, None]))

    if name == WHOLE:
        return lambda t: between(t).synthesize(generator)
    side = generator.resolution
    mask = make_mask(MASKS[name], torch.zeros(1, 3, side, side)).mask.to(generator.device)
    fixed = latents(generator, base)
    b = activation(generator, fixed, options.layer)

    def masked(t: Tensor) -> Tensor:
        a = activation(generator, between(t), options.layer)
        drawn = b._replace(x=attributes(generator, a, b, mask, mask))
        return with_activation(generator, fixed, drawn).synthesize(generator)

    return masked


def codes(generator: Generator, options: Options, key: str, numbers: list[int]) -> Tensor:
    """(N, L, D) of random z, each by its number."""
    z = torch.stack([random_numbers(options, key, number, generator.z_dim) for number in numbers])
    label = torch.eye(generator.c_dim)[[0] * len(z)] if generator.c_dim else None
    return generator.map(z.to(generator.device), None if label is None else label.to(z.device))


def random_numbers(
    options: Options, key: str, number: int, size: int, *, uniform: bool = False
) -> Tensor:
    rng = keyed_generator("cpu", options.seed, key, number)
    make = torch.rand if uniform else torch.randn
    return make(size, generator=rng)


def latents(generator: Generator, ws: Tensor) -> Latents:
    return Latents(space="w+", code=ws, fingerprint=generator.fingerprint)


def face_of(images: Tensor) -> Tensor:
    """Rows 3/8 to 7/8 and columns 2/8 to 6/8, as StyleGAN measures faces."""
    side = images.shape[-1] // 8
    return images[..., 3 * side : 7 * side, 2 * side : 6 * side].clamp(-1, 1)


def trimmed_mean(values: Tensor) -> Tensor:
    """Mean over the last axis, without the values beyond the quantiles of OUTLIERS."""
    ends = torch.tensor([OUTLIERS, 1 - OUTLIERS], dtype=values.dtype)
    low, high = values.quantile(ends, dim=-1, keepdim=True)
    inside = (values >= low) & (values <= high)
    return (values * inside).sum(-1) / inside.sum(-1)


def table(networks: list[str], lengths: dict[str, Tensor]) -> str:
    """Lengths by every distance, and whether the masked ones are the shorter."""
    head = ["", *(f"{x}, {end}" for x in networks for end in ("full", "end"))]
    lines, findings = [], []
    for name, values in lengths.items():
        paper = PAPER[WHOLE if name == WHOLE else "masked"]
        lines.append([name, *(f"{x:.3g}" for x in values.flatten().tolist()), *map(str, paper)])
        if name != WHOLE:
            shorter = bool((values[:, 0] < lengths[WHOLE][:, 0]).all())
            findings.append(f"{'holds' if shorter else 'FAILS'}: {name}: shorter than whole, full")
    return "\n".join([report.table([*head, "paper, full", "its end"], lines), "", *findings])


if __name__ == "__main__":
    main(tyro.cli(Options))
