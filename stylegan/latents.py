"""`Latents`: everything needed to redraw N images with a given generator, in one file.

Legend: N images, L style inputs, C channels, HxW pixels, r side of a noise map.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor

from . import files, spaces
from .generator import Generator
from .synthesis import Feature

FORMAT = "facsimile latents"
TENSORS = ("code", "feature", "rgb", "label")


@dataclass(frozen=True, kw_only=True)
class Latents:
    """Latents of N images. Index it with an int, a slice, a list or a mask to get some of them."""

    space: str
    """Name of the space: z, z+, w, w+, p_n, p_n+, s, or f/ and one of these."""
    code: Tensor
    """(N, ...) the code in that space, for every style input, also for those before a feature."""
    fingerprint: str
    """Of the generator that these latents belong to."""
    layer: str | None = None
    """With f/: the convolution whose output `feature` is."""
    feature: Tensor | None = None
    """(N, C, H, W)"""
    rgb: Tensor | None = None
    """(N, img_channels, H', W') image that the toRGB layers before `layer` drew; None: zero."""
    noise: tuple[Tensor, ...] | None = None
    """One map (N, 1, r, r) per convolution; None: the generator's constant noise."""
    label: Tensor | None = None
    """(N, c_dim) of a conditional generator."""
    truncation: float = 1.0
    """psi, by which the first `cutoff` inputs (None: all) are drawn towards the average w."""
    cutoff: int | None = None

    def __post_init__(self) -> None:
        _, has_feature = spaces.parse(self.space)
        if has_feature != (self.feature is not None) or has_feature != (self.layer is not None):
            wants = "a feature and its layer" if has_feature else "no feature"
            raise ValueError(f'latents in "{self.space}" have {wants}')

    def __len__(self) -> int:
        return len(self.code)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> "Latents":
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"latents {index} of {len(self)}")
            index = slice(index, index + 1 or None)
        return self._each(lambda x: x[index])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None):
        return self._each(lambda x: x.to(device=device, dtype=dtype))

    def detach(self) -> "Latents":
        return self._each(lambda x: x.detach().clone())

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name; noise maps are "noise.0", "noise.1", .."""
        held = {name: x for name in TENSORS if (x := getattr(self, name)) is not None}
        return held | {f"noise.{i}": x for i, x in enumerate(self.noise or ())}

    def with_tensors(self, tensors: dict[str, Tensor]) -> "Latents":
        """These latents with other tensors, named as `tensors` names them."""
        count = sum(name.startswith("noise.") for name in tensors)
        noise = tuple(tensors[f"noise.{i}"] for i in range(count)) or None
        return replace(self, **{name: tensors.get(name) for name in TENSORS}, noise=noise)

    def _each(self, change) -> "Latents":
        return self.with_tensors({name: change(x) for name, x in self.tensors().items()})

    def check(self, generator: Generator) -> None:
        """ValueError unless these latents belong to the generator."""
        if self.fingerprint != generator.fingerprint:
            raise ValueError(
                f"these latents belong to the generator {self.fingerprint}, and this one is "
                f"{generator.fingerprint}; load the generator with which they were made"
            )

    def first_ws_index(self, generator: Generator) -> int:
        """The first style input that acts: 0, or with a feature the first one after it."""
        return 0 if self.layer is None else generator.first_ws_index(self.layer)

    def draw(self, generator: Generator, noise: str | None = None) -> Tensor:
        """Images (N, img_channels, R, R), about [-1, 1].

        noise: "const", "random" or "none" in place of the maps that the latents hold.
        """
        space, _ = spaces.parse(self.space)
        code = space.decode(generator, self.code, self.label)
        if isinstance(code, Tensor):
            code = generator.truncate(code, self.truncation, self.cutoff)
        start = None if self.layer is None else Feature(self.layer, self.feature, self.rgb)
        if noise is None:
            noise = "const" if self.noise is None else self.noise
        return generator.synthesize(code, noise, start=start)

    def retract(self) -> "Latents":
        """The code moved onto its space, as after every step of refinement."""
        return replace(self, code=spaces.parse(self.space)[0].retract(self.code))

    def deviation(self, generator: Generator) -> Tensor:
        """(N,) how far the codes have strayed from the generator's samples: see the space."""
        space, _ = spaces.parse(self.space)
        return space.deviation(generator, self.code, self.first_ws_index(generator))

    def save(self, path: str | Path, **about: str) -> None:
        """Write one .safetensors file, or none at all; `about` goes into its metadata."""
        plain = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in (*TENSORS, "noise")
        }
        about = {"format": FORMAT, "latents": json.dumps(plain), **about}
        files.write_tensors(path, self.tensors(), about)

    @staticmethod
    def load(path: str | Path, generator: Generator | None = None) -> "Latents":
        """Read a file; with a generator, check that the latents are its own.

        Raises FileNotFoundError, or ValueError with what the file is instead.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} does not exist; expected a latents file (.safetensors)"
            )
        metadata, tensors = files.read_tensors(path)
        if metadata.get("format") != FORMAT:
            raise ValueError(
                f"{path} is no latents file: its format is {metadata.get('format')!r}, "
                f"expected {FORMAT!r}"
            )
        count = sum(name.startswith("noise.") for name in tensors)
        noise = tuple(tensors[f"noise.{i}"] for i in range(count)) or None
        held = {name: tensors.get(name) for name in TENSORS}
        latents = Latents(**json.loads(metadata["latents"]), **held, noise=noise)
        if generator is not None:
            latents.check(generator)
        return latents


def init_latents(
    generator: Generator,
    space: str,
    n: int,
    *,
    how: str | None = None,
    seed: int = 0,
    label: Tensor | None = None,
    layer: str | None = None,
    rgb_skip: str = "keep",
    truncation: float = 1.0,
    cutoff: int | None = None,
) -> Latents:
    """Latents of n images to begin with, all alike.

    how: "mean", "random", or None for the space's own start. A feature is that of the mean code at
    `layer` (None: `Generator.default_feature_layer`); rgb_skip: "keep" holds the image which that
    code has drawn so far, "zero" begins it anew as BDInvert does.
    """
    inner, has_feature = spaces.parse(space)
    code = inner.start(generator, n, how or inner.default_start, seed, label)
    held = {}
    if has_feature:
        layer = layer or generator.default_feature_layer()
        mean = spaces.SPACES["w+"].start(generator, n, "mean", c=label)
        # Not under no_grad: so an image's feature is the same in every batch (see layers.linear).
        found = generator.synthesize(mean, stop=layer)
        keeps = rgb_skip == "keep" and found.rgb is not None
        held = {
            "layer": layer,
            "feature": found.x.detach(),
            "rgb": found.rgb.detach() if keeps else None,
        }
    return Latents(
        space=space,
        code=code,
        fingerprint=generator.fingerprint,
        label=label,
        truncation=truncation,
        cutoff=cutoff,
        **held,
    )
