"""Feature transport: carries a change of codes into the feature of latents in an f/ space.

Legend: N images, L style inputs, D numbers in w, C channels, HxW pixels of the feature, R image
resolution.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from facsimile.stylegan import Feature, Generator, Latents, spaces

from .codes import to_w_plus

BATCH = 8
"""Images computed at once; they do not influence one another."""


@dataclass(frozen=True)
class FeatureTransport:
    """Moves the codes of latents and changes their feature accordingly.

    The feature of a photo holds what its codes do not, so that it has to follow when they move:

        F' = (1 - m) H(F, delta) + m F(w + change),  delta = F(w + change) - F(w)

    with w from the in-domain encoder, the feature editor H, and a share m of delta, which is not in
    the paper. The RGB skip and, by the mean share, the codes are mixed likewise. "The Devil is in
    the Details: StyleFeatureEditor for Detail-Rich StyleGAN Inversion and High Quality Image
    Editing", section 3.3.
    """

    layer: str
    """The layer whose features the editor takes."""
    predict_ws: Callable[[Tensor], Tensor]
    """The in-domain encoder: images (N, img_channels, R, R) in [-1, 1] -> codes (N, L, D)."""
    edit_feature: Callable[[Tensor, Tensor], Tensor]
    """H: features and their change, (N, C, H, W) both -> edited features (N, C, H, W)."""
    in_domain_share: Callable[[Tensor], Tensor] | None = None
    """m: the feature's change (N, C, H, W) -> how much of F(w + change) takes the place of F', in
    [0, 1], (N, 1, H, W). None: nothing."""

    def fits(self, generator: Generator, latents: Latents) -> bool:
        """Whether the latents have a feature of the layer, and codes of W+ beside it."""
        space, _ = spaces.parse(latents.space)
        one = latents[:1]
        return latents.layer == self.layer and isinstance(
            space.decode(generator, one.code, one.label), Tensor
        )

    @torch.no_grad()
    def in_domain_ws(self, generator: Generator, latents: Latents) -> Tensor:
        """The in-domain encoder's codes (N, L, D) of the images of latents."""
        parts = (latents[i : i + BATCH] for i in range(0, len(latents), BATCH))
        return torch.cat([self.predict_ws(x.synthesize(generator).clamp(-1, 1)) for x in parts])

    @torch.no_grad()
    def move(self, generator: Generator, latents: Latents, ws: Tensor, change: Tensor) -> Latents:
        """Latents in f/w+ whose codes are moved by `change`, with their features edited.

        latents: in any f/ space of `layer` but f/s. ws: their `in_domain_ws`; change: of codes;
        both (N, L, D). An RGB skip changes by the difference of those of ws and ws + change. Where
        nothing changes up to the layer, the feature stays as it is, to the last bit. Raises
        ValueError for latents of another layer.
        """
        if latents.layer != self.layer:
            raise ValueError(
                f"got latents with a feature of {latents.layer}, and this editor is for those of "
                f"{self.layer}; invert the photo with --layer {self.layer}"
            )
        latents = to_w_plus(generator, latents)
        parts = [
            self._move(generator, latents[i : i + BATCH], ws[i : i + BATCH], change[i : i + BATCH])
            for i in range(0, len(latents), BATCH)
        ]
        tensors = [part.tensors() for part in parts]
        return latents.with_tensors({k: torch.cat([x[k] for x in tensors]) for k in tensors[0]})

    def _move(self, generator: Generator, latents: Latents, ws: Tensor, change: Tensor) -> Latents:
        before, after = (
            generator.synthesize(x, stop=self.layer, placement=latents.placement)
            for x in (ws, ws + change)
        )
        delta, rgb = after.x - before.x, latents.rgb
        assert latents.feature is not None
        if rgb is not None and after.rgb is not None and before.rgb is not None:
            rgb = rgb + (after.rgb - before.rgb)
        share = torch.zeros_like(delta[:, :1])
        if self.in_domain_share is not None:
            share = self.in_domain_share(delta)
        own = Feature(self.layer, self.edit_feature(latents.feature, delta), rgb)
        mixed = own.lerp(after, share)
        code = torch.lerp(latents.code, ws, share.mean((2, 3))[:, :, None]) + change
        changes = (delta != 0).flatten(1).any(1)[:, None, None, None]
        feature = torch.where(changes, mixed.x, latents.feature)
        rgb = None if mixed.rgb is None else torch.where(changes, mixed.rgb, latents.rgb)
        code = torch.where(changes[:, 0], code, latents.code + change)
        return replace(latents, code=code, feature=feature, rgb=rgb)
