"""The command `facsimile reenact`: a photo's face follows a video, a folder, a photo, a file."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import tyro

from facsimile import checkpoints, data
from facsimile.data.video import CODECS
from facsimile.editing.reenact import SMOOTHING

from . import studio as studios
from .inputs import free_name, keys, photos_for
from .reenact import find_driver
from .reenactment import Reenactment

OK, SOME_FAILED, INTERRUPTED = 0, 1, 130


@dataclass(frozen=True, kw_only=True)
class Reenact:
    """Give the face of a photo the expressions and the pose of another, frame by frame.

    Writes OUT/reenacted.mp4, and OUT/side_by_side.mp4: driver, landmarks, result; OUT/source.png:
    the source, its landmarks, redrawn with them; OUT/landmarks.npz: the driver's, which may drive
    another source; OUT/summary.json, also with how close the landmarks of the results come to those
    asked for. For a single photo: reenacted.png and side_by_side.png.
    Frames without a face hold the pose before, and are counted. Nothing is pasted back: the video
    is of the aligned face.

    A talking photo: facsimile reenact me.jpg driver.mp4 --out talking

    To another's expression, in 50 frames: facsimile reenact me.jpg other.jpg --out morph --frames
    50

    Without a driver, by hand: facsimile reenact me.jpg yaw:20+mouth:open --out moved; as a video
    that looks left, right and ahead: facsimile reenact me.jpg yaw:-20,20,0 --out looks

    Every photo of a folder, each into OUT/NAME/; run the same command again to go on after a stop,
    what is done is skipped: facsimile reenact family/ driver.mp4 --out talking
    """

    source: tyro.conf.Positional[Path]
    """A photo, or latents.safetensors of an inversion in z, z+, w, w+, p_n or p_n+; or a folder of
    photos."""
    driver: tyro.conf.Positional[Path]
    """A video, a folder of photos, one photo, or a file of landmarks (.json or .npz, as facsimile
    landmarks writes). Or a motion of the source's own landmarks: yaw:DEGREES (above 0 the nose goes
    to the right of the picture), mouth:AMOUNT (-1 or closed, 0 as it is, 1 or open), smile:AMOUNT
    (-1 to 1), with + between several at once; amounts with commas between are gone through one
    after the other, a second each."""
    out: Path
    """Folder for the results."""
    generator: str = "faces"
    """A bundled name, a generator's file, or a folder with generator.safetensors."""
    encoder: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """An encoder's file, or the folder of a run of train.py; once for each kind. Default:
    difference.safetensors and in-domain.safetensors beside the generator."""
    driving: Literal["auto", "relative", "absolute"] = "auto"
    """relative: the source's landmarks move as the driver's do from its first face on, which
    should show the source's expression; the shape of the source's face stays. absolute: they become
    the driver's. auto: absolute for a single pose, else relative."""
    smoothing: float = SMOOTHING
    """Seconds: how long jitter is averaged over where a point rests; 0: not at all."""
    refine: int = 0
    """Steps that improve the source's code first, by the recipe in-domain."""
    frames: int | None = None
    """With a single pose: a video that goes there from the source's own in so many frames."""
    fps: float | None = None
    """Frames a second. Default: the video's own, else 25."""
    landmarks: Literal[data.LANDMARKERS] = "auto"
    """Network. fan: face-alignment's FAN; small: the bundled one; auto: FAN where its weights are,
    else the bundled one. Best the one that the encoder was trained with."""
    landmark_weights: Path | None = None
    """Local file of the network's weights: FAN's, or with --landmarks small one of train.py."""
    align: bool = True
    """Find the faces and crop them as FFHQ does. --no-align: photos and frames are such crops
    already, and landmarks in a file are in pixels of the generator's images."""
    keep_own: bool = True
    """The source's own landmarks leave its code exactly as it is, and those near them nearly so.
    --no-keep-own: the paper's w + d."""
    batch: int = 8
    """Frames drawn at once. It changes the time, and the result by no more than rounding."""
    video: Literal["mp4", "webm", "none"] = "mp4"
    """webm is what web pages play."""
    pictures: bool = False
    """Write every frame as a picture too, in OUT/reenacted/ and OUT/side_by_side/."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""


def reenact(command: Reenact) -> int:
    """Returns 0, 1 where some photo of a folder failed, or 130 after Ctrl-C; raises ValueError or
    OSError for what cannot be used."""
    studio = studios.load(
        command.generator,
        perceptual="auto" if command.refine else "none",
        encoders=command.encoder,
        device=command.device,
    )
    own = command.landmark_weights if command.landmarks == "small" else None
    landmarker = data.landmarker(
        command.landmarks,
        small=own or checkpoints.LANDMARKS,
        fan_weights=None if command.landmarks == "small" else command.landmark_weights,
        device=studio.device,
    )
    print(landmarker.note)
    driver = find_driver(
        studio, command.driver, landmarker, command.align, command.fps, but=command.out
    )
    prepare = partial(
        studio.reenact,
        driver=driver,
        relative={"auto": None, "relative": True, "absolute": False}[command.driving],
        smoothing=command.smoothing,
        refine=command.refine,
        frames=command.frames,
        landmarks=landmarker,
        align=command.align,
        keep_own=command.keep_own,
        batch=command.batch,
    )
    if command.source.is_dir():
        return _write_all(command, prepare)
    return _write(command, prepare(command.source), command.out)


def _write_all(command: Reenact, prepare: Callable[[Path], Reenactment]) -> int:
    out = command.out
    if out.suffix.lower() in CODECS:
        raise ValueError(
            f"got a folder of photos, and the video {out} for their results; expected a folder"
        )
    photos = photos_for([command.source], out)
    code, done, failed = OK, 0, []
    for photo, name in zip(photos, _folders(photos, out), strict=True):
        print(f"{photo}:")
        try:
            found = prepare(photo)
        except (data.PhotoError, OSError) as error:
            failed.append(str(error) if str(photo) in str(error) else f"{photo}: {error}")
            print(f"failed: {failed[-1]}")
            continue
        if found.done(out / name, **_kinds(command)):
            print(f"done before: {out / name}")
        else:
            code = _write(command, found, out / name)
        if code:
            print("run the same command again to go on", file=sys.stderr)
            break
        done += 1
    print(f"{done} of {len(photos)} photos done, {len(failed)} failed: {out}")
    for reason in failed:
        print(f"  {reason}", file=sys.stderr)
    return code or (SOME_FAILED if failed else OK)


def _folders(photos: list[Path], out: Path) -> list[str]:
    """A name of its own for the results of each, none of a video file."""
    stems = [photo.stem for photo in photos]
    taken = keys(out / f"{stem}.png" for stem in stems if Path(stem).suffix.lower() in CODECS)
    return [free_name(stem, out, taken) for stem in stems]


def _kinds(command: Reenact) -> dict:
    """What is to be written."""
    video = None if command.video == "none" else command.video
    return {"video": video, "pictures": command.pictures or None}


def _write(command: Reenact, found: Reenactment, out: Path) -> int:
    """Returns 0, or 130 after Ctrl-C while frames are written."""
    _ = found.source.face  # Ctrl-C until here leaves nothing
    print(f"driving: {'relative to its first face' if found.relative else 'absolute'}")
    try:
        said = found.save(out, **_kinds(command), quiet=False)
    except KeyboardInterrupt:
        print(f"\nstopped; the frames until then are in {out}", file=sys.stderr)
        return INTERRUPTED
    print(
        f"{said['frames']} frames, {said['held']} held because they show no face, "
        f"{said['frames_per_second']} frames/s: {out}"
    )
    close = said["reached"]
    if close["nme"] is not None:
        print(
            f"landmarks reached: off by {close['nme']:.3f} of the distance of the eyes, Hausdorff "
            f"{close['hausdorff']:.3f}; {close['results_without_a_face']} results without a face"
        )
    for name, error in said["frames_without_a_face"].items():
        print(f"  {name}: {error}", file=sys.stderr)
    if "ends_early" in said:
        print(f"  {command.driver}: {said['ends_early']}", file=sys.stderr)
    return OK
