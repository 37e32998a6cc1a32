"""`Latents`: everything needed to redraw N images with a given generator, in one file.

Legend: N images, L style inputs, C channels, HxW pixels, R side of the image, r side of a noise
map.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import files, spaces
from .generator import Generator
from .photo_crop import PhotoCrop
from .synthesis import Feature, Noise

FORMAT = "facsimile latents"
VERSION = 3
"""Of the files that are written. Version 1, without a number, has other names for truncation; no
version before 3 has crops."""
NAMES_OF_VERSION_1 = {"truncation": "truncation_psi", "cutoff": "truncation_cutoff"}
TENSORS = ("code", "feature", "rgb", "label", "placement")


@dataclass(frozen=True, repr=False, kw_only=True)
class Latents:
    """Latents of N images. Index it with an int, a slice, a list or a mask to get some of them."""

    space: str
    """Name of the space: one of `spaces.SPACES`, or f/ and one of these."""
    code: Tensor
    """(N, ...) the code in that space, for all style inputs, also for those before a feature."""
    fingerprint: str
    """Fingerprint of the generator to which these latents belong."""
    layer: str | None = None
    """With f/: the layer whose output `feature` is."""
    feature: Tensor | None = None
    """(N, C, H, W)"""
    rgb: Tensor | None = None
    """(N, img_channels, H', W') image of the toRGB layers before `layer`; None: zero."""
    noise: tuple[Tensor, ...] | None = None
    """One map (N, 1, r, r) per noise input; None: the generator's constant noise."""
    label: Tensor | None = None
    """(N, c_dim) of a conditional generator."""
    placement: Tensor | None = None
    """(N, 3, 3) transform of a StyleGAN3's input, see `make_placement`; None: the generator's."""
    truncation_psi: float = 1.0
    """Truncation of the w that follow from the code: see `Generator.truncate`. 1: none."""
    truncation_cutoff: int | None = None
    """How many style inputs are truncated, from the first on; None: all."""
    crops: tuple[PhotoCrop, ...] = ()
    """Where in which photo each of the N images belongs; (): that is not known."""

    def __post_init__(self) -> None:
        if len(self.crops) not in (0, len(self.code)):
            raise ValueError(f"got {len(self.crops)} crops for {len(self.code)} images")
        _, has_feature = spaces.parse(self.space)
        if has_feature != (self.feature is not None) or has_feature != (self.layer is not None):
            expected = "a feature and its layer" if has_feature else "no feature"
            raise ValueError(f'latents in "{self.space}" have {expected}')

    def __len__(self) -> int:
        return len(self.code)

    def __repr__(self) -> str:
        count = f"{len(self)} image{'s' * (len(self) != 1)}"
        feature = "" if self.layer is None else f", feature of {self.layer}"
        noise = "" if self.noise is None else f", {len(self.noise)} noise maps"
        return f'Latents({count} in "{self.space}", code {tuple(self.code.shape)}{feature}{noise})'

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> "Latents":
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"latents {index} of {len(self)}")
            index = slice(index, index + 1 or None)
        chosen = self._map_tensors(lambda x: x[index])
        if not self.crops:
            return chosen
        crops = tuple(self.crops[i] for i in torch.arange(len(self))[index].tolist())
        return replace(chosen, crops=crops)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "Latents":
        """The same latents on another device, or in another dtype."""
        return self._map_tensors(lambda x: x.to(device=device, dtype=dtype))

    def detach(self) -> "Latents":
        """A copy without gradient history."""
        return self._map_tensors(lambda x: x.detach().clone())

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name; noise maps are "noise.0", "noise.1", .."""
        tensors = {name: x for name in TENSORS if (x := getattr(self, name)) is not None}
        return tensors | {f"noise.{i}": x for i, x in enumerate(self.noise or ())}

    def with_tensors(self, tensors: dict[str, Tensor]) -> "Latents":
        """These latents with other tensors, under the names of `tensors()`.

        Where the number of images changes, all belong to the place of a single one; of several,
        places are forgotten.
        """
        count, crops = len(tensors["code"]), self.crops
        if len(crops) != count:
            crops = crops * count if len(crops) == 1 else ()
        return replace(self, **_tensor_fields(tensors), crops=crops)

    def _map_tensors(self, function: Callable[[Tensor], Tensor]) -> "Latents":
        return self.with_tensors({name: function(x) for name, x in self.tensors().items()})

    def check(self, generator: Generator) -> None:
        """ValueError unless these latents belong to the generator."""
        if self.fingerprint != generator.fingerprint:
            raise ValueError(
                f"these latents belong to the generator {self.fingerprint}, and this one is "
                f"{generator.fingerprint}; {how_to_get(self.fingerprint, generator)}"
            )

    def first_ws_index(self, generator: Generator) -> int:
        """The first style input that acts: 0, or with a feature the first one after it."""
        return 0 if self.layer is None else generator.first_ws_index(self.layer)

    def synthesize(self, generator: Generator, noise: str | None = None) -> Tensor:
        """Images (N, img_channels, R, R), about [-1, 1].

        noise: "const", "random" or "none" instead of the maps of these latents.
        """
        space, _ = spaces.parse(self.space)
        code = space.decode(generator, self.code, self.label)
        if isinstance(code, Tensor):
            code = generator.truncate(code, self.truncation_psi, self.truncation_cutoff)
        start = None
        if self.layer is not None and self.feature is not None:
            start = Feature(self.layer, self.feature, self.rgb)
        maps: Noise = noise or self.noise or "const"
        return generator.synthesize(code, maps, start=start, placement=self.placement)

    def to_w_plus(self, generator: Generator) -> Tensor:
        """ws (N, L, w_dim) after truncation, without a feature. ValueError for codes of styles."""
        space, _ = spaces.parse(self.space)
        ws = space.to_w_plus(generator, self.code, self.label)
        return generator.truncate(ws, self.truncation_psi, self.truncation_cutoff)

    def retract(self) -> "Latents":
        """The code moved onto its space, as after every step of refinement."""
        return replace(self, code=spaces.parse(self.space)[0].retract(self.code))

    def deviation(self, generator: Generator) -> Tensor:
        """(N,) distance of the codes from the generator's samples: see `Space.deviation`."""
        space, _ = spaces.parse(self.space)
        return space.deviation(generator, self.code, self.first_ws_index(generator))

    def save(self, path: str | Path, **extra: str) -> None:
        """Write one .safetensors file, or none at all. `extra` is added to its metadata.

        Raises OSError.
        """
        plain = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in (*TENSORS, "noise", "crops")
        }
        plain["crops"] = [crop.to_dict() for crop in self.crops]
        metadata = {"format": FORMAT, "version": str(VERSION), "latents": json.dumps(plain)}
        files.write_tensors(path, self.tensors(), metadata | extra)

    @staticmethod
    def load(path: str | Path, generator: Generator | None = None) -> "Latents":
        """Read a file; with a generator, check that the latents belong to it.

        Raises FileNotFoundError, or ValueError that says what the file is instead.
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
        version = files.check_version(path, metadata, VERSION)
        try:
            plain = json.loads(metadata["latents"])
            if version < VERSION:
                plain = {NAMES_OF_VERSION_1.get(name, name): x for name, x in plain.items()}
            crops = tuple(PhotoCrop.from_dict(crop) for crop in plain.pop("crops", ()))
            latents = Latents(**plain, **_tensor_fields(tensors), crops=crops)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is damaged: its description of the latents ({error}); copy it again"
            ) from error
        if generator is not None:
            latents.check(generator)
        return latents

    @staticmethod
    def concatenate(parts: Sequence["Latents"]) -> "Latents":
        """Latents of one kind as one; the tensors must have the same names and sizes."""
        tensors = [part.tensors() for part in parts]
        whole = parts[0].with_tensors({k: torch.cat([t[k] for t in tensors]) for k in tensors[0]})
        crops = tuple(crop for part in parts for crop in part.crops)
        return replace(whole, crops=crops if len(crops) == len(whole) else ())


def _tensor_fields(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The fields of `Latents` that are tensors, from tensors under the names of a file."""
    count = sum(name.startswith("noise.") for name in tensors)
    noise = tuple(tensors[f"noise.{i}"] for i in range(count)) or None
    return {name: tensors.get(name) for name in TENSORS} | {"noise": noise}


def how_to_get(fingerprint: str, present: Generator) -> str:
    """What to do for the generator with this fingerprint where `present` is another."""
    if (command := present.predecessors.get(fingerprint)) is None:
        return "load the generator with which they were made"
    return (
        f"that one was bundled before this one, and this command in a clone fetches it: {command}; "
        "then name the file, as --generator old.safetensors"
    )


def init_latents(
    generator: Generator,
    space: str,
    n: int,
    *,
    init: str | None = None,
    seed: int = 0,
    label: Tensor | None = None,
    layer: str | None = None,
    rgb_skip: str = "keep",
    placement: Tensor | None = None,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
) -> Latents:
    """Initial latents of n images, all alike except for their labels and placements.

    Args:
        space: name of the space, e.g. "w+" or "f/z+".
        init: "mean" or "random" code; None: the default of the space.
        seed: of the random code.
        label: (n, c_dim) for a conditional generator.
        layer: where the feature of an f/ space lies; None: `Generator.default_feature_layer`. The
            feature is that of the mean code.
        rgb_skip: "keep" holds the image that the mean code has written up to the feature, "zero"
            starts without one, as BDInvert does.
        placement: (3, 3) or (n, 3, 3) of a StyleGAN3, as `make_placement` returns it.
        truncation_psi: stored in the latents, see `Generator.map`.
        truncation_cutoff: likewise.

    Raises ValueError for an unknown space, layer or init.
    """
    inner, has_feature = spaces.parse(space)
    code = inner.initial_code(generator, n, init, seed, label)
    if placement is not None:
        placement = placement.to(generator.mapping.w_avg).expand(n, 3, 3).clone()
    fields_of_feature = {}
    if has_feature:
        layer = layer or generator.default_feature_layer()
        mean = spaces.SPACES["w+"].initial_code(generator, n, "mean", label=label)
        # Not under no_grad: so an image's feature is the same in every batch (see layers.linear).
        feature = generator.synthesize(mean, stop=layer, placement=placement)
        rgb = feature.rgb if rgb_skip == "keep" else None
        fields_of_feature = {
            "layer": layer,
            "feature": feature.x.detach(),
            "rgb": None if rgb is None else rgb.detach(),
        }
    return Latents(
        space=space,
        code=code,
        fingerprint=generator.fingerprint,
        **fields_of_feature,
        label=label,
        placement=placement,
        truncation_psi=truncation_psi,
        truncation_cutoff=truncation_cutoff,
    )
