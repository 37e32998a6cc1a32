"""Sampling rates of StyleGAN3's layers, and the low-pass filters between them.

Rates are in samples per side of the image; cutoff and stopband in cycles per side of the image.
"Alias-Free Generative Adversarial Networks", section 3.2, "Flexible layer specifications".
"""

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

MAX_TAPS = 2**8
"""Taps of a filter; filters of the releases have 24 at most."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The settings from which rates and filters of all layers follow. Raises ValueError."""

    img_resolution: int
    num_layers: int
    """Layers before toRGB."""
    num_critical: int
    """How many of them are critically sampled, counted from the last."""
    first_cutoff: float
    first_stopband: float
    last_stopband_rel: float
    """Last stopband / last cutoff."""
    margin_size: int
    """Pixels beyond the image on each side of a feature."""
    filter_size: int
    """Taps of a filter per unit of its factor."""
    lrelu_upsampling: int
    """Factor by which the leaky ReLU raises the rate."""
    conv_kernel: int
    """Side of the convolutions' kernels."""
    use_radial_filters: bool
    """Whether layers without critical sampling have radially symmetric down-sampling filters."""

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("num_critical", "margin_size", "use_radial_filters") else 1
            whole = field.type is float or isinstance(value, int)
            if not (whole and least <= value <= 2**20):
                raise ValueError(
                    f"a StyleGAN3's {field.name} is {value}; expected a number of the type "
                    f"{field.type.__name__}, {least} or larger"
                )
        if self.num_layers <= self.num_critical:
            raise ValueError(
                f"a StyleGAN3 has {self.num_layers} layers, {self.num_critical} of them critically "
                "sampled; expected at least one that is not"
            )


class Level(NamedTuple):
    """The output signal of a layer."""

    cutoff: float
    half_width: float
    """Half of the transition band of the filters that lead to this level."""
    rate: int
    size: int
    """Side in pixels, with margins."""


class Resampling(NamedTuple):
    """A layer's up-sampling to the rate of its leaky ReLU, and down-sampling to its own rate."""

    up: int
    down: int
    up_filter: Tensor | None
    """(taps,); None if the factor is 1."""
    down_filter: Tensor | None
    """(taps,), or (taps, taps) if it is radial; None if the factor is 1."""
    padding: tuple[int, int]
    """Zeros before and after the up-sampled signal; negative numbers crop it."""


def levels(sampling: Sampling) -> list[Level]:
    """The outputs of the layers 0, 1, .., and of toRGB. The input of layer 0 is like its output.

    Frequencies grow geometrically up to the critically sampled layers.
    """
    resolution, signals = sampling.img_resolution, []
    last = resolution / 2
    for index in range(sampling.num_layers + 1):
        e = min(index / (sampling.num_layers - sampling.num_critical), 1)
        cutoff = sampling.first_cutoff * (last / sampling.first_cutoff) ** e
        growth = last * sampling.last_stopband_rel / sampling.first_stopband
        stopband = sampling.first_stopband * growth**e
        rate = 2 ** math.ceil(math.log2(min(2 * stopband, resolution)))
        # The last two have no margin.
        inside = index < sampling.num_layers - 1
        size = rate + 2 * sampling.margin_size if inside else resolution
        signals.append(Level(cutoff, max(stopband, rate / 2) - cutoff, rate, size))
    return signals


def resampling(sampling: Sampling, index: int) -> Resampling:
    """The resampling of layer `index`, which is not toRGB. ValueError for very long filters."""
    signals = levels(sampling)
    before, after = signals[max(index - 1, 0)], signals[index]
    rate = sampling.lrelu_upsampling * max(before.rate, after.rate)
    up, down = rate // before.rate, rate // after.rate
    up_taps, down_taps = (1 if f == 1 else f * sampling.filter_size for f in (up, down))
    if max(up_taps, down_taps) > MAX_TAPS:
        raise ValueError(
            f"a StyleGAN3's layer {index} has filters of {up_taps} and {down_taps} taps; "
            f"expected at most {MAX_TAPS}"
        )
    radial = sampling.use_radial_filters and index < sampling.num_layers - sampling.num_critical
    widened = before.size + sampling.conv_kernel - 1
    total = (after.size - 1) * down + 1 - widened * up + up_taps + down_taps - 2
    first = (total + up) // 2
    return Resampling(
        up,
        down,
        _filter(up_taps, before, rate, False),
        _filter(down_taps, after, rate, radial),
        (first, total - first),
    )


def _filter(taps: int, level: Level, rate: int, radial: bool) -> Tensor | None:
    return None if taps == 1 else low_pass(taps, level.cutoff, level.half_width, rate, radial)


def low_pass(
    taps: int, cutoff: float, half_width: float, rate: float, radial: bool = False
) -> Tensor:
    """(taps,) or with `radial` (taps, taps), of sum 1: a sinc, or jinc, times a Kaiser window.

    Kaiser's formulas give the attenuation that the taps reach in a transition band of twice
    `half_width`, and the shape of the window.
    """
    attenuation = 2.285 * (taps - 1) * math.pi * 2 * half_width / (rate / 2) + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation > 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    window = torch.kaiser_window(taps, periodic=False, beta=beta, dtype=torch.float64)
    at = (torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2) / rate
    if radial:
        distance = torch.hypot(at[:, None], at)
        # In the middle of an odd number of taps, J1(x) / x -> 1 / 2.
        x = (2 * math.pi * cutoff * distance).clamp(min=1e-9)
        response = torch.special.bessel_j1(x) / x * torch.outer(window, window)
    else:
        response = torch.sinc(2 * cutoff * at) * window
    return (response / response.sum()).float()
