"""Where StyleGAN3's layers sample their signals, and the low-pass filters between them.

Rates are in samples per side of the image; cutoff and stopband in cycles per side of the image.
"Alias-Free Generative Adversarial Networks", section 3.2, "Flexible layer specifications".
"""

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

LONGEST = 2**8
"""Taps of a filter; those of the releases have 24 at most."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    img_resolution: int
    num_layers: int
    """Layers before toRGB."""
    num_critical: int
    """How many of them, at the end, are critically sampled."""
    first_cutoff: float
    first_stopband: float
    last_stopband_rel: float
    """Last stopband in multiples of the last cutoff."""
    margin_size: int
    """Pixels beyond the image on each side of a feature."""
    filter_size: int
    """Taps of a filter for every unit of its factor."""
    lrelu_upsampling: int
    """Factor of the rate at which the leaky ReLU works."""
    conv_kernel: int
    """Side of the convolutions' kernels."""
    use_radial_filters: bool
    """Whether layers that are not critically sampled have radially symmetric down-filters."""

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("num_critical", "margin_size", "use_radial_filters") else 1
            whole = field.type is float or isinstance(value, int)
            if not (whole and least <= value <= 2**20):
                raise ValueError(
                    f"a StyleGAN3's {field.name} is {value}; expected a number from {least} on, of "
                    f"the kind {field.type.__name__}"
                )
        if self.num_layers <= self.num_critical:
            raise ValueError(
                f"a StyleGAN3 has {self.num_layers} layers, {self.num_critical} of them critically "
                "sampled; expected more layers than that"
            )


class Level(NamedTuple):
    """The signal that a layer writes."""

    cutoff: float
    half_width: float
    """Half of the transition band of filters that end at this level."""
    rate: int
    size: int
    """Side in pixels, margins and all."""


class Resampling(NamedTuple):
    """A layer's way up to the rate of its leaky ReLU, and down to its own."""

    up: int
    down: int
    up_filter: Tensor | None
    """(taps,); None where the factor is 1."""
    down_filter: Tensor | None
    """(taps,), or (taps, taps) where it is radial."""
    padding: tuple[int, int]
    """Zeros before and after the signal with its zeros inserted; negative: cut off."""


def levels(sampling: Sampling) -> list[Level]:
    """Of the layers 0, 1, .., and last toRGB. Layer 0 reads its own, any other the one before.

    Frequencies grow geometrically up to the critically sampled layers.
    """
    side, found = sampling.img_resolution, []
    last = side / 2
    for index in range(sampling.num_layers + 1):
        e = min(index / (sampling.num_layers - sampling.num_critical), 1)
        cutoff = sampling.first_cutoff * (last / sampling.first_cutoff) ** e
        growth = last * sampling.last_stopband_rel / sampling.first_stopband
        stopband = sampling.first_stopband * growth**e
        rate = 2 ** math.ceil(math.log2(min(2 * stopband, side)))
        # The last two have no margin.
        inside = index < sampling.num_layers - 1
        size = rate + 2 * sampling.margin_size if inside else side
        found.append(Level(cutoff, max(stopband, rate / 2) - cutoff, rate, size))
    return found


def resampling(sampling: Sampling, index: int) -> Resampling:
    """Of layer `index`, which is not toRGB."""
    signals = levels(sampling)
    before, after = signals[max(index - 1, 0)], signals[index]
    rate = sampling.lrelu_upsampling * max(before.rate, after.rate)
    up, down = rate // before.rate, rate // after.rate
    up_taps, down_taps = (1 if f == 1 else f * sampling.filter_size for f in (up, down))
    if max(up_taps, down_taps) > LONGEST:
        raise ValueError(
            f"a StyleGAN3's layer {index} has filters of {up_taps} and {down_taps} taps; "
            f"expected at most {LONGEST}"
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
    """(taps,) or with `radial` (taps, taps), of sum 1: sinc, or jinc, under a Kaiser window.

    Kaiser's formulas for the attenuation that the taps reach in a transition band of twice
    `half_width`, and for the window's shape.
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
