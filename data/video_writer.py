"""Writes films that browsers and phones play: H.264 or VP9, 4:2:0, with their sound.

Legend: HxW pixels.
"""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from .film import VideoError, pyav
from .frame_times import as_rate
from .sound import Sound, SoundWriter

H264 = ("libx264", {"crf": "18", "preset": "medium"})
VP9 = ("libvpx-vp9", {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"})
CODECS = {".mp4": (H264, VP9), ".webm": (VP9,)}
"""Name of a film -> encoders, the first that there is; with options of about equal quality."""
BT709, LIMITED = 1, 1
"""Of ITU-T H.273, as players expect it: the matrix, primaries and transfer; the range."""
EVEN = 2
"""Colours are stored for blocks of 2x2 pixels."""


class VideoWriter:
    """Writes photos of one size to a video file, which appears when the context is left.

    After an exception it holds the frames that were written before, and their sound.
    """

    def __init__(self, path: str | Path, fps: float, sound: Sound | None = None):
        """path: .mp4 or .webm, VideoError for other names. fps: frames per second."""
        self.path, self.count = Path(path), 0
        self.rate = as_rate(fps)
        self.sound = sound
        if self.path.suffix.lower() not in CODECS:
            raise VideoError(
                f'{path}: got a video to be called "{self.path.suffix}", expected '
                f"{' or '.join(CODECS)}; choose such a name"
            )
        self._part = self.path.with_name(f".{self.path.stem}.part{self.path.suffix}")
        self._container: Any = None
        self._stream: Any = None
        self._sound_writer: SoundWriter | None = None
        self._size = (0, 0)

    def write(self, photo: Image.Image) -> None:
        """Raises VideoError if the first photo had another size, and OSError if no video opens."""
        if self._container is None:
            self._begin(photo.size)
        if photo.size != self._size:
            raise VideoError(
                f"got a frame of {photo.size}, expected {self._size} as the first; "
                "a video's frames are of one size"
            )
        pixels = np.asarray(photo.convert("RGB"))
        odd = [(0, side % EVEN) for side in pixels.shape[:2]]
        pixels = np.ascontiguousarray(np.pad(pixels, [*odd, (0, 0)], mode="edge"))
        frame = (
            pyav()
            .VideoFrame.from_ndarray(pixels, format="rgb24")
            .reformat(format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED)
        )
        frame.pts, frame.time_base = self.count, 1 / self.rate
        frame.colorspace, frame.color_range = BT709, LIMITED
        self._container.mux(self._stream.encode(frame))
        self.count += 1
        if self._sound_writer is not None:
            self._sound_writer.write_until(self.count / self.rate)

    def _begin(self, size: tuple[int, int]) -> None:
        av = pyav()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        name, options = _encoder(av, self.path)
        flags = {"movflags": "+faststart"} if self.path.suffix.lower() == ".mp4" else {}
        try:
            # With its protocol, as FFmpeg takes what is before ":" in a name for one.
            self._container = av.open(f"file:{self._part}", "w", container_options=flags)
        except (av.FFmpegError, ValueError) as error:
            raise OSError(
                f"{self.path}: PyAV could not begin this video ({error}); make sure that its "
                "folder can be written, or ask for pictures"
            ) from error
        stream = self._container.add_stream(name, rate=self.rate, options=dict(options))
        stream.width, stream.height = (side + side % EVEN for side in size)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = 1 / self.rate
        context.colorspace, context.color_range = BT709, LIMITED
        context.color_primaries = context.color_trc = BT709
        self._stream, self._size = stream, size
        if self.sound is not None:
            self._sound_writer = SoundWriter(self.sound, self._container, self.path.suffix.lower())

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._container is None:
            return
        self._container.mux(self._stream.encode(None))
        if self._sound_writer is not None:
            self._sound_writer.close(self.count / self.rate)
        self._container.close()
        if self._part.exists():
            os.replace(self._part, self.path)


def _encoder(av: ModuleType, path: Path) -> tuple[str, dict[str, str]]:
    candidates = CODECS[path.suffix.lower()]
    for name, options in candidates:
        if name in av.codecs_available:
            return name, options
    raise OSError(
        f"{path}: this PyAV has no encoder for it, expected "
        f"{' or '.join(name for name, _ in candidates)}; install PyAV from a wheel, or ask for "
        "pictures"
    )
