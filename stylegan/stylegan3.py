"""StyleGAN3's synthesis network, configurations T and R.

Legend: N images, L style inputs (num_ws), C channels (in: I, out: O), HxW pixels, R side of the
image. "Alias-Free Generative Adversarial Networks"; tensors are named as in NVIDIA's PyTorch
releases, but layer names do not contain the resolution and width.
A feature has a margin around the picture, and only the last layer writes an image.
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
"""From so many numbers on, a leaky ReLU is recomputed for the gradient instead of stored.

At 1024 px it would store 1.3e9 numbers per image, three times.
"""


def upsample(x: Tensor, taps: Tensor | None, factor: int, padding: tuple[int, int]) -> Tensor:
    """factor - 1 zeros after every pixel, padding (or cut) on both axes, filter: (N, C, H', W').

    taps: (t,), None where the factor is 1. H' = factor H + sum(padding) - t + 1.
    """
    if taps is None:
        return F.pad(x, padding * 2)
    # Zero insertion and the true convolution are one transposed convolution. If `padding` cuts its
    # result equally on both sides, as in every release, it does so itself.
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
    """(..) each -> (.., 2, 3): maps a point of the moved picture to its position before the motion.

    The motion rotates a picture counter-clockwise about its centre, then shifts it; y points down.
    """
    rows = [
        [cos, -sin, sin * down - cos * right],
        [sin, cos, -sin * right - cos * down],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def make_placement(
    rotation: float | Tensor = 0.0, translation: Sequence[float] | Tensor = (0.0, 0.0)
) -> Tensor:
    """Transform (3, 3) of a StyleGAN3's input, or (N, 3, 3), that rotates and shifts the image.

    It lets an unaligned photo be inverted as it is: pass the rotation and shift by which the photo
    differs from an aligned one.

    rotation: degrees, counter-clockwise in the picture, about the image's centre; () or (N,).
    translation: (right, down) as fractions of the image's side, after the rotation; (2,) or (N, 2).
    The transform is the inverse of that motion: it maps a pixel to the source of its content.
    Raises ValueError for other shapes.
    """
    # On the CPU, as there is a device without float64.
    device = torch.as_tensor(rotation).device
    angle = torch.deg2rad(torch.as_tensor(rotation).cpu().double())
    shift = torch.as_tensor(translation).cpu().double()
    if angle.ndim > 1 or shift.ndim not in (1, 2) or shift.shape[-1] != 2:
        raise ValueError(
            f"got a rotation of the shape {tuple(angle.shape)} and a translation of "
            f"{tuple(shift.shape)}; expected () or (N,), and (2,) or (N, 2)"
        )
    parts = torch.broadcast_tensors(angle.cos(), angle.sin(), *shift.unbind(-1))
    rows = inverse_motion(*parts)
    last = rows.new_tensor([0, 0, 1]).expand(*rows.shape[:-2], 1, 3)
    return torch.cat([rows, last], -2).float().to(device)


class FourierInput(nn.Module):
    """Waves of fixed frequencies, rotated and shifted by the style and by a placement.

    Section 3.2, "Transformed Fourier features". `transform` is the placement stored in the file.
    """

    def __init__(self, channels: int, w_dim: int, size: int, rate: int, bandwidth: float):
        """size: side (H = W) with margins; bandwidth: largest frequency, cycles per image."""
        super().__init__()
        self.size, self.rate, self.bandwidth = size, rate, bandwidth
        self.weight = nn.Parameter(torch.randn(channels, channels))
        # (cos, sin, right, down) times any length; the bias alone is the identity.
        self.affine = Linear(w_dim, 4)
        self.affine.bias.data[0] = 1
        # Uniform over the disc.
        angle, radius = 2 * math.pi * torch.rand(channels), bandwidth * torch.rand(channels).sqrt()
        freqs = torch.stack([angle.cos(), angle.sin()], 1) * radius[:, None]
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", freqs)
        self.register_buffer("phases", torch.rand(channels) - 0.5)

    def forward(self, style: Tensor, placement: Tensor) -> Tensor:
        """style: (N, 4); placement: (3, 3) or (N, 3, 3) -> (N, C, size, size)."""
        style = style / torch.linalg.vector_norm(style[:, :2], dim=1, keepdim=True)
        motion = inverse_motion(*style.unbind(1)) @ placement  # (N, 2, 3)
        freqs = self.freqs @ motion[:, :, :2]  # (N, C, 2)
        phases = self.phases + (motion[:, :, 2:] * self.freqs.T).sum(1)  # (N, C)
        # A wave between the bandwidth and half the rate fades, so that none is ever aliased.
        room = self.rate / 2 - self.bandwidth
        amplitude = (1 - (torch.linalg.vector_norm(freqs, dim=2) - self.bandwidth) / room).clamp(
            0, 1
        )
        at = torch.arange(self.size, device=style.device, dtype=style.dtype)
        at = ((at + 0.5 - self.size / 2) / self.rate)[:, None]
        across = at * freqs[:, None, :, 0]  # (N, W, C)
        along = at * freqs[:, None, :, 1] + phases[:, None]  # (N, H, C)
        x = torch.sin(2 * math.pi * (along[:, :, None] + across[:, None]))
        # The amplitude scales the columns of the weight, which is smaller than x.
        weight = self.weight * (amplitude / math.sqrt(len(self.weight)))[:, None]  # (N, O, I)
        x = x.flatten(1, 2) @ weight.transpose(1, 2)
        return x.unflatten(1, (self.size, self.size)).permute(0, 3, 1, 2)


class Conv(nn.Module):
    """Modulated convolution; bias; up-sampling, leaky ReLU, down-sampling.

    weight: (O, I, k, k). Weights and styles are normalised before modulation, and
    1 / sqrt(magnitude_ema) normalises the input (section 3.1); the leaky ReLU is filtered
    (section 3.2, "Filtered nonlinearities").
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
        # By the mean of the image, not of the batch: demodulation cancels it except for the 1e-8.
        style = style * torch.rsqrt(style.square().mean(1, keepdim=True))
        # Scaled activations instead of per-sample weights. Normalising the weight is one factor per
        # output channel, like the demodulation.
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
        """The leaky ReLU at a higher rate, so that its new high frequencies can be filtered out."""
        x = upsample(x, self.up_filter, self.up, self.padding)
        return downsample(activate(x, clamp=self.clamp), self.down_filter, self.down)


class ScaledToRGB(ToRGB):
    """toRGB whose input is normalised by 1 / sqrt(magnitude_ema)."""

    def __init__(self, inputs: int, channels: int, w_dim: int, clamp: float | None = None):
        super().__init__(inputs, channels, w_dim, clamp)
        self.register_buffer("magnitude_ema", torch.ones([]))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return super().forward(x, style * torch.rsqrt(self.magnitude_ema))


class StyleGAN3(Synthesis):
    """A feature is the output of a layer L0, L1, .., with its margin."""

    takes_placement = True

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
        optional = {key: config[key] for key in ("output_scale", "conv_clamp") if key in config}
        sampling = Sampling(**{field.name: config[field.name] for field in fields(Sampling)})
        return cls(sampling, config["w_dim"], config["channels"], **optional)

    def _list_layers(self, rates: list[int]) -> list[Layer]:
        layers = [Layer("input", self.input, self.input.affine, 0, None, rates[0], False)]
        for index, rate in enumerate(rates):
            name, feature = f"L{index}", index < len(rates) - 1
            module = getattr(self, name)
            layers.append(Layer(name, module, module.affine, index + 1, None, rate, feature))
        return layers

    def begin(self, styles: Sequence[Tensor], placement: Tensor | None) -> Tensor:
        """The placement, (3, 3) or (N, 3, 3): the input layer makes its waves from it alone."""
        if placement is None:
            return self.input.transform
        n = len(styles[0])
        if placement.shape[-2:] != (3, 3) or placement.shape[:-2] not in ((), (1,), (n,)):
            raise ValueError(
                f"the placement has the shape {tuple(placement.shape)}, the batch {n} images; "
                f"expected (3, 3) for all images or ({n}, 3, 3), as make_placement returns"
            )
        return placement.to(styles[0])

    def run(
        self, layer: Layer, x: Tensor, rgb: Tensor | None, style: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if layer.module is self.input:
            return self.input(style, x), None
        x = image_layout(x)
        if layer.feature:
            return layer.module(x, style), None
        return x, layer.module(x, style) * self.output_scale
