"""Films of high dynamic range (HDR) to ordinary pictures, by tone mapping.

Legend: HxW pixels. Light is linear, 1 = the white of a page (203 cd/m2, ITU-R BT.2408).
"""

from functools import cache

import numpy as np

PQ, HLG = 16, 18
"""Transfer characteristics of ITU-T H.273 that mean HDR: SMPTE ST 2084, and ARIB STD-B67."""
NAMES = {PQ: "PQ", HLG: "HLG"}
WHITE = 203.0
"""cd/m2."""
PEAK = 1000.0
"""cd/m2: the brightest light that a screen of HLG shows, and films in PQ mostly have."""
KNEE = 0.6
"""Darker light stays as it is; brighter light up to PEAK is compressed to what is left."""
# Linear light of BT.2020's primaries to BT.709's, ITU-R BT.2087.
TO_BT709 = np.array(
    [(1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)],
    dtype=np.float32,
)
LEVELS = 4096
"""Of the table from linear light to 8 bits."""


def tone_map(pixels: np.ndarray, transfer: int) -> np.ndarray:
    """RGB (H, W, 3), uint16, in BT.2020 with PQ or HLG -> RGB (H, W, 3), uint8, in sRGB.

    The largest channel is compressed and the others in proportion, so that colours keep their hue.
    """
    light = _linear(transfer)[pixels]  # (H, W, 3)
    if transfer == HLG:
        # The system's gamma of 1.2 for a screen of 1000 cd/m2, ITU-R BT.2100, table 5.
        luminance = light @ np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)
        light = light * (luminance[..., None].clip(1e-6) ** np.float32(0.2)) * (PEAK / WHITE)
    light = (light @ TO_BT709.T).clip(0)
    brightest = light.max(axis=2, keepdims=True).clip(1e-6)
    light *= compress(brightest) / brightest
    table: np.ndarray = _to_srgb()[(light.clip(0, 1) * (LEVELS - 1) + 0.5).astype(np.uint16)]
    return table


def compress(light: np.ndarray) -> np.ndarray:
    """[0, PEAK / WHITE] -> [0, 1]: itself up to KNEE, then a hyperbola of the same slope."""
    room, beyond = 1 - KNEE, PEAK / WHITE - KNEE
    t = ((light - KNEE) / beyond).clip(0)
    slope = beyond / room
    compressed: np.ndarray = light.clip(None, KNEE) + room * slope * t / (1 + (slope - 1) * t)
    return compressed


@cache
def _linear(transfer: int) -> np.ndarray:
    """Linear light of each of 65536 values: for PQ in units of WHITE, for HLG of the scene."""
    value = np.linspace(0, 1, 65536)
    if transfer == PQ:  # SMPTE ST 2084, equation 4
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        root = value ** (1 / m2)
        light = 10000 / WHITE * ((root - c1).clip(0) / (c2 - c3 * root)) ** (1 / m1)
    else:  # ITU-R BT.2100, table 5: the inverse of the opto-electronic transfer
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)
    return light.astype(np.float32)


@cache
def _to_srgb() -> np.ndarray:
    light = np.linspace(0, 1, LEVELS)
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (255 * value + 0.5).astype(np.uint8)
