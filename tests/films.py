"""Tiny films for tests: frames of one grey each, so that a picture says which frame it is."""

from fractions import Fraction

import av
import numpy as np

SIDE = 32
STEP = 20
"""Of grey, from one frame to the next."""


def grey(index, width=SIDE, height=SIDE):
    return np.full((height, width, 3), STEP * (index % (256 // STEP)), np.uint8)


def write_film(
    path,
    times,
    *,
    codec="libx264",
    pictures=None,
    pix_fmt="yuv420p",
    base=Fraction(1, 1000),
    rate=25,
    sound=None,
    options=None,
    setup=None,
    **container,
):
    """A film with a frame at each of `times`, in seconds. sound: (codec, samples, Hz, time of the
    first sample). setup: called with the stream before the first frame."""
    pictures = [grey(i) for i in range(len(times))] if pictures is None else pictures
    with av.open(str(path), "w", **container) as output:
        stream = output.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = base
        if setup is not None:
            setup(stream)
        track = None if sound is None else output.add_stream(sound[0], rate=sound[2], layout="mono")
        for time, picture in zip(times, pictures, strict=True):
            layout = "rgba" if picture.shape[2] == 4 else "rgb24"
            layout = "rgb48le" if picture.dtype == np.uint16 else layout
            frame = av.VideoFrame.from_ndarray(picture, format=layout).reformat(format=pix_fmt)
            frame.pts, frame.time_base = round(time / base), base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if track is not None:
            add_sound(output, track, *sound[1:])
    return path


def add_sound(output, track, samples, hertz, start):
    size = track.codec_context.frame_size or 1024
    kind = track.codec_context.format.name
    for first in range(0, len(samples) - size + 1, size):
        part = samples[None, first : first + size]
        scaled = part.astype(np.float32)
        if "flt" not in kind:
            whole = np.int32 if "32" in kind else np.int16
            scaled = (part * np.iinfo(whole).max).astype(whole)
        frame = av.AudioFrame.from_ndarray(scaled, format=kind, layout="mono")
        frame.sample_rate, frame.time_base = hertz, Fraction(1, hertz)
        frame.pts = first + round(start * hertz)
        output.mux(track.encode(frame))
    output.mux(track.encode(None))


def click(hertz=48000, seconds=1.0, at=0.5):
    """Silence, and from `at` seconds on a tone."""
    time = np.arange(int(hertz * seconds)) / hertz
    return np.where(time >= at, 0.5 * np.sin(2 * np.pi * 440 * time), 0)


def onset(path):
    """(seconds at which the sound of a film begins to be loud, its codec, its end)."""
    with av.open(str(path)) as film:
        track = film.streams.audio[0]
        codec, found, end = track.codec_context.codec.canonical_name, None, 0.0
        for frame in film.decode(track):
            loud = np.abs(frame.to_ndarray().astype(np.float32)).reshape(-1)
            loud = loud if frame.format.is_planar else loud[:: frame.layout.nb_channels]
            loud = loud[: frame.samples] / (1 if loud.max(initial=0) <= 4 else 32768)
            over = np.flatnonzero(loud > 0.1)
            if found is None and len(over):
                found = frame.time + over[0] / frame.sample_rate
            end = frame.time + frame.samples / frame.sample_rate
    return found, codec, end


def indices(frames):
    """Which frame each picture of a film shows."""
    return [round(np.asarray(frame.photo)[..., 1].mean() / STEP) for frame in frames]
