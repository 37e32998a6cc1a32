"""StyleGAN3's synthesis network, configurations T and R.

Legend: N images, L style inputs (num_ws), C channels (in: I, out: O), HxW pixels, R side of the
image. "Alias-Free Generative Adversarial Networks"; tensors are named as in NVIDIA's PyTorch
releases, layers without the side and width that those put into their names.
A feature has a margin around the picture, and there is no image before the last layer.
"""

import math
from collections.abc import Sequence
from dataclasses import fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .alias_free import Resampling, Sampling, levels, resampling
from .layers import (
    GAIN,
    CachedTransform,
    Linear,
    ToRGB,
    activate,
    as_batch,
    image_layout,
    linear,
    squares,
)
from .synthesis import Layer, Synthesis

RECOMPUTE = 2**26
"""A leaky ReLU of so many numbers is computed again for the gradient, in place of being kept.

At 1024 px it would be kept at 1.3e9 numbers per image, three times over.
"""


def upsample(x: Tensor, taps: Tensor | None, factor: int, padding: tuple[int, int]) -> Tensor:
    """factor - 1 zeros after every pixel, padding (or cut) on both axes, filter: (N, C, H', W').

    taps: (t,), None where the factor is 1. H' = factor H + sum(padding) - t + 1.
    """
    if taps is None:
        return F.pad(x, padding * 2)
    # Zero insertion and the true convolution are one transposed convolution. What `padding` leaves
    # of its result is cut within it where that is the same on both sides, as in every release.
    before, after = len(taps) - 1 - padding[0], len(taps) - factor - padding[1]
    cut = max(0, min(before, after))
    channels = x.shape[1]
    rows = (taps * factor).to(x.dtype)[:, None].expand(channels, 1, -1, 1)
    x = F.conv_transpose2d(x, rows, stride=(factor, 1), padding=(cut, 0), groups=channels)
    columns = rows.transpose(2, 3)
    x = F.conv_transpose2d(x, columns, stride=(1, factor), padding=(0, cut), groups=channels)
    rest = (cut - before, cut - after)
    return F.pad(x, rest * 2) if any(rest) else x


def downsample(x: Tensor, taps: Tensor | None, factor: int) -> Tensor:
    """Filter, without any padding, then every `factor`-th pixel: (N, C, H', W').

    taps: (t,) for both axes, or (t, t); None where the factor is 1. H' = (H - t) // factor + 1.
    """
    if taps is None:
        return x
    # A convolution, not a correlation.
    channels, kernel = x.shape[1], taps.flip(list(range(taps.ndim))).to(x.dtype)
    if kernel.ndim == 2:
        return F.conv2d(x, kernel.expand(channels, 1, -1, -1), stride=factor, groups=channels)
    rows = kernel[:, None].expand(channels, 1, -1, 1)
    x = F.conv2d(x, rows, stride=(factor, 1), groups=channels)
    return F.conv2d(x, rows.transpose(2, 3), stride=(1, factor), groups=channels)


def inverse_motion(cos: Tensor, sin: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """(..) each -> (.., 2, 3): takes a point of the moved picture to where it was before.

    The motion turns a picture counter-clockwise about its centre, then moves it; y points down.
    """
    rows = [
        [cos, -sin, sin * down - cos * right],
        [sin, cos, -sin * right - cos * down],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def placement(
    rotation: float | Tensor = 0.0, translation: Sequence[float] | Tensor = (0.0, 0.0)
) -> Tensor:
    """The transform (3, 3) of the input, or one for each image (N, 3, 3), that moves a picture.

    rotation: degrees, counter-clockwise as seen, about the image's centre; () or (N,).
    translation: (right, down), in sides of the image, after the rotation; (2,) or (N, 2).
    The transform is the inverse of that motion: it tells every pixel where its content comes from.
    """
    angle = torch.deg2rad(torch.as_tensor(rotation, dtype=torch.float64))
    shift = torch.as_tensor(translation, dtype=torch.float64, device=angle.device)
    if angle.ndim > 1 or shift.ndim not in (1, 2) or shift.shape[-1] != 2:
        raise ValueError(
            f"got a rotation of the shape {tuple(angle.shape)} and a translation of "
            f"{tuple(shift.shape)}; expected () or (N,), and (2,) or (N, 2)"
        )
    parts = torch.broadcast_tensors(angle.cos(), angle.sin(), *shift.unbind(-1))
    rows = inverse_motion(*parts)
    last = rows.new_tensor([0, 0, 1]).expand(*rows.shape[:-2], 1, 3)
    return torch.cat([rows, last], -2).float()


class FourierInput(nn.Module):
    """Waves of fixed frequencies, turned and moved by the style and by `transform`.

    Section 3.2, "Transformed Fourier features".
    """

    def __init__(self, channels: int, w_dim: int, size: int, rate: int, bandwidth: float):
        """size: side (H = W) with margins; bandwidth: largest frequency, cycles per image."""
        super().__init__()
        self.size, self.rate, self.bandwidth = size, rate, bandwidth
        self.weight = nn.Parameter(torch.randn(channels, channels))
        # (cos, sin, right, down) times any length; the bias alone is the pose that does nothing.
        self.affine = Linear(w_dim, 4)
        self.affine.bias.data[0] = 1
        # Uniform over the disc.
        angle, radius = 2 * math.pi * torch.rand(channels), bandwidth * torch.rand(channels).sqrt()
        freqs = torch.stack([angle.cos(), angle.sin()], 1) * radius[:, None]
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", freqs)
        self.register_buffer("phases", torch.rand(channels) - 0.5)

    def forward(self, style: Tensor) -> Tensor:
        """style: (N, 4) -> (N, C, size, size)."""
        style = style / style[:, :2].norm(dim=1, keepdim=True)
        turned = inverse_motion(*style.unbind(1)) @ self._transform(len(style))  # (N, 2, 3)
        freqs = self.freqs @ turned[:, :, :2]  # (N, C, 2)
        phases = self.phases + (turned[:, :, 2:] * self.freqs.T).sum(1)  # (N, C)
        # A wave between the bandwidth and half the rate fades, so that none is ever aliased.
        room = self.rate / 2 - self.bandwidth
        amplitude = (1 - (freqs.norm(dim=2) - self.bandwidth) / room).clamp(0, 1)
        at = torch.arange(self.size, device=style.device, dtype=style.dtype)
        at = ((at + 0.5 - self.size / 2) / self.rate)[:, None]
        across = at * freqs[:, None, :, 0]  # (N, W, C)
        along = at * freqs[:, None, :, 1] + phases[:, None]  # (N, H, C)
        x = torch.sin(2 * math.pi * (along[:, :, None] + across[:, None]))
        # Every wave's amplitude goes onto its column of the weight, which is smaller than x.
        weight = self.weight * (amplitude / math.sqrt(len(self.weight)))[:, None]  # (N, O, I)
        x = x.flatten(1, 2) @ weight.transpose(1, 2)
        return x.unflatten(1, (self.size, self.size)).permute(0, 3, 1, 2)

    def _transform(self, n: int) -> Tensor:
        if self.transform.ndim == 3 and len(self.transform) not in (1, n):
            raise ValueError(
                f"the input has transforms for {len(self.transform)} images, and draws {n}; "
                "pass one transform, or one for each image"
            )
        return self.transform


class Conv(nn.Module):
    """Modulated convolution; bias; up-sampling, leaky ReLU, down-sampling.

    weight: (O, I, k, k). Weights and styles are normalised before they meet, and
    1 / sqrt(magnitude_ema) evens out the size of the input (section 3.1); the leaky ReLU is
    filtered (section 3.2, "Filtered nonlinearities").
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        w_dim: int,
        kernel: int,
        resampling: Resampling,
        clamp: float | None = None,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.affine = Linear(w_dim, inputs, bias=1)
        self.register_buffer("magnitude_ema", torch.ones([]))
        self.register_buffer("up_filter", resampling.up_filter)
        self.register_buffer("down_filter", resampling.down_filter)
        self.up, self.down, self.padding = resampling.up, resampling.down, resampling.padding
        self.clamp = clamp
        self.energy = CachedTransform(squares)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x: (N, I, H, W); style: (N, I) -> (N, O, H', W')."""
        # By the image's own mean, not the batch's: demodulation undoes it but for the 1e-8.
        style = style * torch.rsqrt(style.square().mean(1, keepdim=True))
        # Scaled activations in place of per-sample weights. Normalising the weight is a factor of
        # its output channel: it goes where the demodulation goes.
        energy = self.energy(self.weight)
        unit = torch.rsqrt(energy.sum(1) / self.weight[0].numel())
        demodulation = torch.rsqrt(linear(style.square(), energy) * unit.square() + 1e-8)
        padding = self.weight.shape[-1] - 1
        x = x * style[:, :, None, None]
        x = as_batch(lambda x: F.conv2d(x, self.weight, padding=padding), x)
        # max(gx, .2gx) = g max(x, .2x): the gain is folded into the small tensors.
        scale = demodulation * unit * (GAIN * torch.rsqrt(self.magnitude_ema))
        offset = (self.bias * GAIN)[None, :, None, None]
        x = torch.addcmul(offset, x, scale[:, :, None, None])
        if x.numel() * self.up**2 < RECOMPUTE or not torch.is_grad_enabled():
            return self.activate(x)
        return checkpoint(self.activate, x, use_reentrant=False, preserve_rng_state=False)

    def activate(self, x: Tensor) -> Tensor:
        """The leaky ReLU at a higher rate, so that what it adds beyond x's own is filtered out."""
        x = upsample(x, self.up_filter, self.up, self.padding)
        return downsample(activate(x, clamp=self.clamp), self.down_filter, self.down)


class ScaledToRGB(ToRGB):
    """toRGB, with the size of its input kept by 1 / sqrt(magnitude_ema)."""

    def __init__(self, inputs: int, channels: int, w_dim: int, clamp: float | None = None):
        super().__init__(inputs, channels, w_dim, clamp)
        self.register_buffer("magnitude_ema", torch.ones([]))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return super().forward(x, style * torch.rsqrt(self.magnitude_ema))


class StyleGAN3(Synthesis):
    """A feature is the output of a layer L0, L1, .., at a rate `side`, with its margin."""

    def __init__(
        self,
        sampling: Sampling,
        w_dim: int,
        channels: Sequence[int],
        *,
        output_scale: float = 0.25,
        conv_clamp: float | None = 256,
    ):
        """channels: width of L0, L1, .., and last the image's channels."""
        super().__init__()
        last = sampling.num_layers
        if len(channels) != last + 1:
            raise ValueError(
                f"got {len(channels)} widths; a StyleGAN3 of {last} layers has {last + 1}, "
                "with the image's channels"
            )
        self.output_scale = output_scale
        signals = levels(sampling)
        first = signals[0]
        self.input = FourierInput(channels[0], w_dim, first.size, first.rate, first.cutoff)
        widths = (channels[0], *channels)
        for index in range(last):
            conv = Conv(
                widths[index],
                widths[index + 1],
                w_dim,
                sampling.conv_kernel,
                resampling(sampling, index),
                conv_clamp,
            )
            setattr(self, f"L{index}", conv)
        setattr(self, f"L{last}", ScaledToRGB(widths[last], widths[-1], w_dim, conv_clamp))
        self.layers = self._list_layers([signal.rate for signal in signals])

    @classmethod
    def from_config(cls, config: dict) -> "StyleGAN3":
        """config: that of a `Generator`, with all of `Sampling`, the widths "channels", and perhaps
        "output_scale" and "conv_clamp".
        """
        known = [field.name for field in fields(Sampling)]
        extra = {key: config[key] for key in ("output_scale", "conv_clamp") if key in config}
        sampling = Sampling(**{key: config[key] for key in known})
        return cls(sampling, config["w_dim"], config["channels"], **extra)

    def place(
        self, rotation: float | Tensor = 0.0, translation: Sequence[float] | Tensor = (0.0, 0.0)
    ) -> None:
        """From now on pictures are turned and moved, as `placement` says; without arguments, not.

        So an unaligned photo is inverted as it lies: place the generator as the photo departs from
        an aligned one. With a placement for each image every batch must hold that many; refinement
        drops images that are done, so it wants one placement. Latents do not hold a placement.
        """
        self.input.transform = placement(rotation, translation).to(self.input.transform)

    def _list_layers(self, rates: list[int]) -> list[Layer]:
        found = [Layer("input", self.input, self.input.affine, 0, None, rates[0], False)]
        for index, rate in enumerate(rates):
            module = getattr(self, f"L{index}")
            feature = index < len(rates) - 1
            found.append(Layer(f"L{index}", module, module.affine, index + 1, None, rate, feature))
        return found

    def begin(self, styles: Sequence[Tensor]) -> None:
        """The first layer makes its own."""

    def run(
        self, layer: Layer, x: Tensor, rgb: Tensor | None, style: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if x is None:
            return layer.module(style), None
        x = image_layout(x)
        if layer.feature:
            return layer.module(x, style), None
        return x, layer.module(x, style) * self.output_scale
