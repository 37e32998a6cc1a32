"""Direction: a step along a direction of W, such as a principal component of the generator's codes.

Legend: N images, L style inputs, D numbers in w.
"GANSpace: Discovering Interpretable GAN Controls", section 2.1, and 2.2 for the layers.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facsimile.stylegan import Generator, Latents, files, statistics

from .codes import move_codes, parse_layers
from .feature_transport import FeatureTransport
from .registry import Edit, Parameter

PRINCIPAL = "pca:"


@torch.no_grad()
def move_along(
    generator: Generator,
    latents: Latents,
    direction: str,
    strength: float,
    layers: str,
    transport: FeatureTransport | None = None,
) -> Latents:
    """Latents in w+, s, f/w+ or f/s whose codes are moved by strength times the direction.

    direction: see `read_direction`. layers: "0-7", "8-" or "3": style inputs from 0 on; "": all.
    Features follow with a transport, and stay as they are without one. Raises ValueError for a
    direction or style inputs that do not exist.
    """
    start, end = parse_layers(layers, generator.num_ws, default=0)
    step = strength * read_direction(generator, direction).to(latents.code)
    change = latents.code.new_zeros(len(latents), *step.shape)
    change[:, start:end] = step[start:end]
    if transport is not None and latents.feature is not None:
        ws = transport.in_domain_ws(generator, latents)
        return transport.move(generator, latents, ws, change)
    return move_codes(generator, latents, change)


def read_direction(generator: Generator, text: str) -> Tensor:
    """A direction (L, D) in W+.

    text: "pca:3", the third principal component of w, one standard deviation of the generator's
    samples long; or a .npy or .safetensors file with one array (D,) or (L, D), whose length is the
    unit of the strength. Raises FileNotFoundError or ValueError.
    """
    if text.startswith(PRINCIPAL):
        number = text.removeprefix(PRINCIPAL)
        if not (number.isdecimal() and 1 <= int(number) <= generator.w_dim):
            raise ValueError(
                f'direction: got "{text}", expected {PRINCIPAL}1 to {PRINCIPAL}{generator.w_dim}, '
                "the principal components of w by their variance"
            )
        vector = statistics.principal_directions(generator)[int(number) - 1]
    else:
        vector = _read_vector(Path(text))
        expected = (generator.w_dim,), (generator.num_ws, generator.w_dim)
        if tuple(vector.shape) not in expected:
            raise ValueError(
                f"{text} has an array of the shape {tuple(vector.shape)}; a direction of this "
                f"generator has the shape {expected[0]}, or {expected[1]} with one for each input"
            )
        if not vector.isfinite().all():
            raise ValueError(f"{text} has numbers that are not finite; expected a direction")
    return vector.expand(generator.num_ws, generator.w_dim)


def _read_vector(path: Path) -> Tensor:
    """The only array of a .npy or .safetensors file, as float64."""
    if not path.is_file():
        raise FileNotFoundError(
            f'direction: there is no file "{path}"; expected {PRINCIPAL}1, {PRINCIPAL}2, .., or a '
            ".npy or .safetensors file with a direction"
        )
    if path.suffix != ".npy":
        _, tensors = files.read_tensors(path)
        if len(tensors) != 1:
            raise ValueError(
                f"{path} holds {len(tensors)} tensors ({', '.join(sorted(tensors)[:5])}); expected "
                "a file with one, the direction"
            )
        return next(iter(tensors.values())).double()
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float64))
    except (ValueError, TypeError, EOFError) as error:
        raise ValueError(f"{path} is no .npy file of numbers ({error})") from error


EDIT = Edit(
    name="direction",
    summary="Move faces along a direction of W.",
    function=move_along,
    parameters=(
        Parameter(
            name="direction",
            default="pca:1",
            help="pca:1, pca:2, ..: a principal component of w, by its variance; or a .npy or "
            ".safetensors file with a direction of w_dim numbers, or with one for each style "
            "input.",
        ),
        Parameter(
            name="strength",
            default=2.0,
            help="How far: standard deviations of samples for pca, lengths of the direction for a "
            "file; below 0 the other way.",
        ),
        Parameter(
            name="layers",
            default="",
            help="Style inputs that are moved, from 0 on: 0-7, 8- or 3. Default: all. Early ones "
            "decide pose and shape, late ones colour and light.",
        ),
    ),
    description="One result for each image. With f/ recipes the feature follows by a feature "
    "editor; without one only the layers after the feature act.",
    moves_codes=True,
)
