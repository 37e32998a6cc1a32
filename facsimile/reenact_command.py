"""The command `facsimile reenact`: a photo's face follows a video, a folder, a photo, a file."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

import checkpoints
import data
from data.video import CODECS
from editing.reenact import SMOOTHING

from . import studio as studios
from .studio import Studio

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

    Every photo of a folder, each into a folder of its own; run the same command again to go on
    after a stop: facsimile reenact family/ driver.mp4 --out talking
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
    if command.source.is_dir():
        return _reenact_all(command, studio, landmarker)
    return _reenact_one(command, studio, landmarker, command.source, command.out)


def _reenact_all(command: Reenact, studio: Studio, landmarker: data.Landmarker) -> int:
    if command.out.suffix.lower() in CODECS:
        raise ValueError(
            f"got the video {command.out} for a folder of photos; give --out a folder's name"
        )
    photos = data.find_photos(command.source, but=command.out)
    if not photos:
        raise ValueError(f"no photo found in {command.source}; expected a folder of photos")
    names = [photo.relative_to(command.source) for photo in photos]
    stems = [name.with_suffix("") for name in names]
    failed = []
    for photo, name, stem in zip(photos, names, stems, strict=True):
        # a.jpg and a.png are two: those keep their endings.
        out = command.out / (stem if stems.count(stem) == 1 else name)
        print(f"{photo}:")
        try:
            code = _reenact_one(command, studio, landmarker, photo, out, again=False)
        except data.PhotoError as error:
            print(f"failed: {error}")
            failed.append(str(error))
            continue
        if code:
            return code
    print(f"{len(photos) - len(failed)} photos done, {len(failed)} failed: {command.out}")
    for reason in failed:
        print(f"  {reason}", file=sys.stderr)
    return SOME_FAILED if failed else OK


def _reenact_one(
    command: Reenact,
    studio: Studio,
    landmarker: data.Landmarker,
    source: Path,
    out: Path,
    again: bool = True,
) -> int:
    """again: do it though an earlier run has."""
    found = studio.reenact(
        source,
        command.driver,
        relative={"auto": None, "relative": True, "absolute": False}[command.driving],
        smoothing=command.smoothing,
        refine=command.refine,
        frames=command.frames,
        landmarks=landmarker,
        align=command.align,
        keep_own=command.keep_own,
        fps=command.fps,
        batch=command.batch,
    )
    written = {
        "video": None if command.video == "none" else command.video,
        "pictures": command.pictures or None,
    }
    if not again and found.done(out, **written):
        print(f"done before: {out}")
        return OK
    print(f"driving: {'relative to its first face' if found.relative else 'absolute'}")
    try:
        said = found.save(out, **written, quiet=False)
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
