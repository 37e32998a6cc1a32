"""The files of a reenactment: videos, pictures, landmarks and summary.json."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from facsimile import data
from facsimile.data.landmark_tracks import write_track
from facsimile.data.sound import Sound
from facsimile.data.video_writer import CODECS, VideoWriter
from facsimile.editing.reenactment import SOURCE_SIGMA
from facsimile.metrics.resize import resize
from facsimile.stylegan import Latents

from .. import pictures
from ..json_files import read_json, write_json
from ..paste_back import WHOLE, PasteOptions, Paster, crop_of
from .drivers import Driver
from .stream import FrameStream, ReenactedFrame
from .summary import FrameLog

SUMMARY = "summary.json"


def open_writers(
    stream: FrameStream,
    out: Path,
    video: str | None,
    stills: bool | None,
    stack: contextlib.ExitStack,
    paste: Callable[[ReenactedFrame], Image.Image] | None = None,
    sound: Sound | None = None,
) -> tuple[Callable[[ReenactedFrame], None], list[Path]]:
    """What writes a frame, and the files and folders that this makes; `stack` closes the videos.

    paste: makes the whole photo of a frame, which is written too, or alone if `out` is a video.
    sound: is in the videos, unless a morph's time is not the driver's.
    """
    fps, sound = stream.driver.fps, None if stream.frames else sound
    if out.suffix.lower() in CODECS:
        writer = stack.enter_context(VideoWriter(out, fps, sound))
        return (lambda frame: writer.write((paste or _result)(frame))), [out]
    out.mkdir(parents=True, exist_ok=True)
    (out / SUMMARY).unlink(missing_ok=True)  # it does not describe what is written from here on
    kinds: dict[str, Callable[[ReenactedFrame], Image.Image]] = {
        "reenacted": _result,
        "side_by_side": partial(side_by_side, source=stream.source.target),
    }
    if paste is not None:
        kinds[WHOLE] = paste
    if stream.single:
        paths = [out / f"{name}.png" for name in kinds]

        def write_picture(frame: ReenactedFrame) -> None:
            for path, picture in zip(paths, kinds.values(), strict=True):
                picture(frame).save(path)

        return write_picture, paths
    return _open_streams(
        out, partial(VideoWriter, fps=fps, sound=sound), kinds, video, stills, stack
    )


def _open_streams(
    out: Path,
    open_video: Callable[[Path], VideoWriter],
    kinds: Mapping[str, Callable[[ReenactedFrame], Image.Image]],
    video: str | None,
    stills: bool | None,
    stack: contextlib.ExitStack,
) -> tuple[Callable[[ReenactedFrame], None], list[Path]]:
    """`open_writers` for several frames. kinds: name of a video or folder -> picture of a frame."""
    videos, folders, paths = {}, {}, []
    for name in kinds:
        if video is not None:
            paths.append(out / f"{name}.{video}")
            videos[name] = stack.enter_context(open_video(paths[-1]))
        if stills or (stills is None and video is None):
            folders[name] = out / name
            shutil.rmtree(folders[name], ignore_errors=True)  # another driver may have had more
            folders[name].mkdir()
            paths.append(folders[name])
    if not paths:
        raise ValueError("neither video nor pictures are to be written; choose one of them")
    number = 0

    def write(frame: ReenactedFrame) -> None:
        nonlocal number
        number += 1
        for name, picture in kinds.items():
            image = picture(frame)
            if name in videos:
                videos[name].write(image)
            if name in folders:
                pictures.save(image, folders[name] / f"{number:06d}.png")

    return write, paths


class FramePaste:
    """Puts frames into the source's whole photo."""

    def __init__(self, stream: FrameStream, options: PasteOptions) -> None:
        """Raises FileNotFoundError, or data.PhotoError for another photo, or none that is known."""
        source = stream.source
        crop = crop_of(() if source.crop is None else (source.crop,), 0)
        self._single = stream.single
        self._paster = Paster(crop, source.target.shape[-1], options)
        self._before = stream.synthesize(source.landmarks[None])[0].cpu()
        self.lost_detail = self._paster.lost_detail

    def __call__(self, frame: ReenactedFrame) -> Image.Image:
        paste = self._paster if self._single else self._paster.frame
        return paste(frame.image, self._before)


def _result(frame: ReenactedFrame) -> Image.Image:
    return data.to_pil(frame.image)


def side_by_side(frame: ReenactedFrame, source: Tensor) -> Image.Image:
    """Source, the driver's whole frame with the face that is followed, that face if there are
    pictures, landmarks, result."""
    side = frame.image.shape[-1]
    columns = {"source": source}
    if frame.driver.film is not None:
        columns["film"] = resize(frame.driver.film[None], (side, side), clamp=True)[0]
    if frame.driver.picture is not None:
        columns["driver"] = resize(frame.driver.picture[None], (side, side), clamp=True)[0]
    columns["landmarks"] = data.draw_landmarks(frame.landmarks[None], side, side)[0]
    columns["result"] = frame.image
    return pictures.panels(list(columns.values()), labels=list(columns))


def write_folder(stream: FrameStream, out: Path, log: FrameLog, summary: dict) -> None:
    """Write what the folder has beside the frames; nothing if `out` is a video."""
    if out.suffix.lower() in CODECS:
        return
    source = stream.source
    side, landmarks = source.target.shape[-1], source.landmarks[None]
    image = stream.synthesize(landmarks)[0].cpu()
    drawing = data.draw_landmarks(landmarks, side, side)[0]
    columns = {"source": source.target, "landmarks": drawing, "reconstruction": image}
    picture = pictures.panels(list(columns.values()), labels=list(columns))
    picture.save(out / "source.png")
    if isinstance(source.face.given, Latents):
        source.face.given.to("cpu").save(out / "source.safetensors", name=source.name)
    write_track(out / "landmarks.npz", torch.stack(log.raw_points), stream.driver.fps, log.names)
    write_json(out / SUMMARY, summary)


def is_done(
    stream: FrameStream,
    out: Path,
    video: str | None,
    stills: bool | None,
    paste: PasteOptions | None = None,
    audio: bool = True,
) -> bool:
    """See `Reenactment.is_done`."""
    summary = read_json(out / SUMMARY)
    settings = settings_of(stream, video, stills, paste, audio)
    return summary.get("stopped") is False and summary["settings"] == settings


def settings_of(
    stream: FrameStream,
    video: str | None,
    stills: bool | None,
    paste: PasteOptions | None = None,
    audio: bool = True,
) -> dict:
    """All that decides what is written, as JSON holds it."""
    source = stream.source
    target = source.target.cpu().numpy().tobytes()
    settings = {
        "relative": stream.relative,
        "smoothing": stream.smoothing,
        "preserve_source": stream.preserve_source and SOURCE_SIGMA,
        "frames": stream.frames,
        "fps": stream.driver.fps,
        "video": video,
        "pictures": stills,
        "source": source.settings | {"pixels": hashlib.sha256(target).hexdigest()[:16]},
        "driver": _driver_stamp(stream.driver),
        **stream.settings,
    }
    if paste is not None:
        settings["paste_back"] = paste.to_dict()
    if stream.driver.sound is not None:
        settings["audio"] = audio
    return json.loads(json.dumps(settings))


def _driver_stamp(driver: Driver) -> list[str]:
    """The driver's path, and a hash of the path, modification time and size of each file."""
    stamps = []
    for path in driver.files:
        # A frame that cannot be read counts as one without a face.
        stat = path.stat() if path.exists() else None
        stamps.append([str(path), *((stat.st_mtime_ns, stat.st_size) if stat else ())])
    return [str(driver.path), hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:16]]


def remove(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
