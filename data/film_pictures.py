"""Decoded frames of a film to upright pictures with square pixels, whole fields, 8 bits and sRGB.

Legend: HxW pixels.
"""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from importlib import import_module
from typing import Any

import numpy as np
from PIL import Image

from .hdr import NAMES, tone_map
from .photos import BACKGROUND

BT709, BT601, UNKNOWN = 1, 5, (0, 2)
"""Matrices between RGB and luma with chroma, ITU-T H.273."""
HD_HEIGHT = 720
"""Lines from which players take BT.709 where a film does not say its matrix."""
SCALING = "bicubic+accurate_rnd+full_chroma_int"
# The display matrix of a file, in 16.16 fixed point: x' = a x + c y, y' = b x + d y.
TURNS = {
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}
"""(a, b, c, d) -> what Pillow does."""


class FilmPictures:
    """Decoded frames, in their order, and None at the end -> (time in seconds or None, RGB).

    FFmpeg's filters deinterlace, scale and convert; they may give a frame later than they get it.
    """

    def __init__(self, stream: Any, decoder: Any):
        """decoder: of the stream; it knows the transfer characteristics."""
        self._stream, self._decoder = stream, decoder
        self._key: tuple | None = None
        self._interlaced = False
        self._graph: Any = None
        self._looks: deque[tuple[Image.Transpose | None, int]] = deque()
        self.notes: dict[str, None] = {}
        """Sentences on what was done, in their order."""

    def __call__(self, frame: Any) -> Iterator[tuple[float | None, Image.Image]]:
        if frame is None:
            yield from self._finish()
            return
        self._interlaced = self._interlaced or frame.interlaced_frame
        colours = (int(frame.colorspace), int(frame.color_range), self._transfer)
        key = (frame.width, frame.height, frame.format.name, self._interlaced, *colours)
        if key != self._key:
            yield from self._finish()
            self._key, self._graph = key, self._build(frame)
        self._looks.append((_turn(frame), self._transfer))
        self._graph.vpush(frame)
        yield from self._pull()

    @property
    def _transfer(self) -> int:
        return int(self._decoder.color_trc or 0)

    def _finish(self) -> Iterator[tuple[float | None, Image.Image]]:
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._pull()
            self._graph = None
            self._looks.clear()

    def _pull(self) -> Iterator[tuple[float | None, Image.Image]]:
        av = import_module("av")
        while True:
            try:
                frame = self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            turn, transfer = self._looks.popleft() if self._looks else (None, 0)
            photo = _photo(frame, transfer)
            yield frame.time, photo if turn is None else photo.transpose(turn)

    def _build(self, frame: Any) -> Any:
        """The filters for frames like this one."""
        av = import_module("av")
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        width, height = square_pixels(frame.width, frame.height, aspect)
        matrix = int(frame.colorspace)
        if matrix in UNKNOWN:
            matrix = BT709 if frame.height >= HD_HEIGHT else BT601
        time_base = frame.time_base or self._stream.time_base
        graph = av.filter.Graph()
        nodes = [
            graph.add(
                "buffer",
                f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:"
                f"time_base={time_base.numerator}/{time_base.denominator}:"
                f"colorspace={int(frame.colorspace)}:range={int(frame.color_range)}",
            )
        ]
        if self._interlaced:
            nodes.append(graph.add("bwdif", "mode=send_frame:deint=interlaced"))
        names = {BT709: "bt709", BT601: "bt601", 6: "bt601", 4: "fcc", 7: "smpte240m"}
        name = names.get(matrix, "bt2020" if matrix in (9, 10) else "auto")
        nodes.append(graph.add("scale", f"{width}:{height}:flags={SCALING}:in_color_matrix={name}"))
        nodes.append(graph.add("format", f"pix_fmts={self._wanted_format(frame)}"))
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes).configure()
        self._note(frame, aspect)
        return graph

    def _note(self, frame: Any, aspect: Fraction) -> None:
        transfer = self._transfer
        if self._interlaced:
            self.notes["interlaced: deinterlaced"] = None
        if transfer in NAMES:
            self.notes[f"HDR ({NAMES[transfer]}): tone-mapped to SDR"] = None
        if aspect != 1:
            self.notes[f"pixels of {aspect.numerator}:{aspect.denominator}: made square"] = None
        if self._wanted_format(frame) == "rgba" and not _has_palette(frame):
            self.notes["transparency: shown on white"] = None

    def _wanted_format(self, frame: Any) -> str:
        if self._transfer in NAMES:
            return "rgb48le"
        alpha = any(component.is_alpha for component in frame.format.components)
        return "rgba" if alpha or _has_palette(frame) else "rgb24"


def square_pixels(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """The size with square pixels, of pixels that are `aspect` times as wide as high: larger."""
    if aspect > 1:
        return max(1, round(width * aspect)), height
    return width, max(1, round(height / aspect))


def _has_palette(frame: Any) -> bool:
    return bool(frame.format.has_palette)


def _photo(frame: Any, transfer: int) -> Image.Image:
    pixels = frame.to_ndarray()  # (H, W, 3 or 4)
    if pixels.dtype == np.uint16:
        return Image.fromarray(tone_map(pixels, transfer))
    photo = Image.fromarray(pixels)
    if photo.mode == "RGB":
        return photo
    white = Image.new("RGB", photo.size, BACKGROUND)
    white.paste(photo.convert("RGB"), mask=photo.getchannel("A"))
    return white


def _turn(frame: Any) -> Image.Transpose | None:
    """What the file asks for before a frame is shown; None for nothing."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32)
    a, b, c, d = (round(int(x) / 65536) for x in (a, b, c, d))
    return TURNS.get((a, b, c, d))
