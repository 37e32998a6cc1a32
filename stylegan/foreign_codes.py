"""Codes of other programs as `Latents`, and latents as their codes.

Legend: N images, L style inputs, D numbers in a w.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from . import files, spaces
from .files.codes import Codes
from .generator import Generator
from .latents import FORMAT, Latents

ToZ = Callable[[Tensor, Tensor | None], Tensor]


def read_latents(path: str | Path, generator: Generator) -> Latents:
    """Latents of this generator from a file: ours, or the codes of another program.

    Raises FileNotFoundError, and ValueError for another file or another generator.
    """
    path = Path(path)
    if is_latents_file(path):
        return Latents.load(path, generator)
    return latents_of(files.codes.read(path), generator, path)


def is_latents_file(path: Path) -> bool:
    """Whether a file says that it holds latents in our own format."""
    return files.read_metadata(path).get("format") == FORMAT


def latents_of(codes: Codes, generator: Generator, path: Path) -> Latents:
    """Codes of another program as latents of W or W+. path: of their file, for messages.

    (L, D) is a code of W+ where the generator has L style inputs, else (N, D) are N of W. Raises
    ValueError if they do not fit the generator.
    """
    if codes.fingerprint not in (None, generator.fingerprint):
        raise ValueError(
            f"{path} holds codes of the generator {codes.fingerprint}, and this one is "
            f"{generator.fingerprint}; name the generator with which they were made"
        )
    values, (inputs, w_dim) = codes.values, (generator.num_ws, generator.w_dim)
    if values.ndim == 1 or (values.ndim == 2 and len(values) == inputs > 1):
        values = values[None]
    if values.ndim == 3 and values.shape[1] == 1 != inputs:
        values = values[:, 0]
    if values.shape[-1] != w_dim or (values.ndim == 3 and values.shape[1] != inputs):
        raise ValueError(
            f"{path} holds codes of shape {tuple(codes.values.shape)}, and this generator has "
            f"{inputs} style inputs of {w_dim} numbers; name the generator with which they were "
            "made"
        )
    space = "w+" if values.ndim == 3 else "w"
    return Latents(
        space=space, code=values.to(generator.mapping.w_avg), fingerprint=generator.fingerprint
    )


def in_space(
    latents: Latents, generator: Generator, space: str, layer: str | None, to_z: ToZ | None = None
) -> Latents:
    """The latents in another space, as near as it holds them: one code for all style inputs is the
    mean over them.

    layer: of the feature of an f/ space; None: the default. The feature is kept if the latents have
    it there, and else it is that of the code. to_z: (ws (N, L, D), label) -> (N, L, z_dim), about
    the inverse of the mapping; without it, ValueError for the spaces of z.
    """
    inner, has_feature = spaces.parse(space)
    layer = (layer or generator.default_feature_layer()) if has_feature else None
    if (latents.space, latents.layer) == (space, layer):
        return latents
    ws = latents.to_w_plus(generator)
    feature, rgb = None, None
    if has_feature and latents.layer == layer:
        feature, rgb = latents.feature, latents.rgb
    elif layer is not None:
        made = generator.synthesize(ws, stop=layer, placement=latents.placement)
        feature, rgb = made.x.detach(), None if made.rgb is None else made.rgb.detach()
    return replace(
        latents,
        space=space,
        code=_code_in(inner, generator, ws, latents.label, to_z),
        layer=layer,
        feature=feature,
        rgb=rgb,
        truncation_psi=1.0,
        truncation_cutoff=None,
    )


def _code_in(
    space: spaces.Space, generator: Generator, ws: Tensor, label: Tensor | None, to_z: ToZ | None
) -> Tensor:
    """The code (N, ..) of ws (N, L, D) in a space."""
    if space.kind == "z" and to_z is not None:
        z = to_z(ws, label).to(ws)
        return z if space.plus else space.retract(z.mean(1))
    plus = spaces.SPACES.get(f"{space.kind}+")
    if space.contains_w_plus or plus is None or not plus.contains_w_plus:
        return space.from_w_plus(generator, ws)
    mean = ws.mean(1, keepdim=True).expand_as(ws)
    return plus.from_w_plus(generator, mean)[:, 0]
