"""`facsimile reenact`: a photo's face follows a video, a folder, a photo, landmarks or a script."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from facsimile import data
from facsimile import studio as studios
from facsimile.claims import Claims, key_of
from facsimile.data.face_choice import read_choice
from facsimile.data.progress import ProgressBar
from facsimile.data.video_writer import CODECS
from facsimile.edit_result import LATENTS
from facsimile.editing.landmark_motion import SMOOTHING
from facsimile.exit_status import INTERRUPTED, OK, SOME_FAILED
from facsimile.inputs import one_line, photos_for, resolved
from facsimile.landmarks import load_landmarker
from facsimile.launched import is_first_process
from facsimile.reenactment import Driver, Reenactment, is_latents_file
from facsimile.reenactment.pairs import ALL, Pair, list_pairs
from facsimile.reenactment.summary import print_summary
from facsimile.refine import Step
from facsimile.studio import SOURCE_STEPS, Studio

from .options import FaceText, PhotoPasteOptions


@dataclass(frozen=True, kw_only=True)
class Reenact(PhotoPasteOptions):
    """Give the face of a photo the expressions and the pose of another, frame by frame.

    Writes OUT/reenacted.mp4, and OUT/side_by_side.mp4 with driver, landmarks and result;
    OUT/source.png with the source, its landmarks and its reconstruction; OUT/landmarks.npz with the
    driver's landmarks, which may drive another source; OUT/summary.json, with the distance of the
    results' landmarks from those asked for. For a single photo: reenacted.png and side_by_side.png.
    Frames without a face repeat the previous pose, and are counted. The video shows the aligned
    face; with --paste-back OUT/whole.mp4 shows it in the whole photo.

    A talking photo: facsimile reenact me.jpg driver.mp4 --out talking

    To another's expression, in 50 frames: facsimile reenact me.jpg other.jpg --out morph --frames
    50

    Without a driver, by a script: facsimile reenact me.jpg yaw:20+mouth:open --out posed; as a
    video that looks left, right and ahead: facsimile reenact me.jpg yaw:-20,20,0 --out looks

    Every photo of a folder, each into OUT/NAME/; run the same command again to continue after a
    stop, finished photos are skipped: facsimile reenact family/ driver.mp4 --out talking
    """

    source: tyro.conf.Positional[Path]
    """A photo; or latents.safetensors of an inversion by any recipe, or its folder; or a folder of
    photos."""
    driver: tyro.conf.Positional[Path]
    """A video, a folder of photos, one photo, or a file of landmarks (.json or .npz, as facsimile
    landmarks writes). Or a motion of the source's landmarks: yaw:DEGREES (above 0 the nose goes to
    the right of the picture), mouth:AMOUNT (-1 or closed, 0 unchanged, 1 or open), smile:AMOUNT (-1
    to 1). + joins several motions; amounts separated by commas follow one another, a second
    each."""
    out: Path
    """Folder for the results."""
    generator: str = "faces"
    """A bundled name, a generator's file, or a folder with generator.safetensors."""
    encoder: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """An encoder's file, or the folder of a training run; once for each kind. Default: the files
    KIND.safetensors beside the generator."""
    driving: Literal["auto", "relative", "absolute"] = "auto"
    """relative: the source's landmarks move as the driver's do since its first face, which should
    show the source's expression; the shape of the source's face is preserved. absolute: they become
    the driver's. auto: absolute for a single pose, else relative."""
    smoothing: float = SMOOTHING
    """Seconds over which jitter of a resting point is averaged; 0: no smoothing."""
    source_steps: int = SOURCE_STEPS
    """For a photo: steps that refine its latents first, in F/Z+ where an encoder predicts the
    feature and an editor moves it, else by the recipe in-domain; 0: none."""
    frames: int | None = None
    """With a single pose: a video of so many frames from the source's pose to that pose."""
    face: FaceText = "largest"
    """Which person of a driver with several: largest, left, right (in the first frame with a face),
    a number (1 is the largest), a point of the face as X,Y in pixels; all: each by itself. The
    person is followed; in frames without the person the pose is held."""
    source_face: FaceText = "largest"
    """Which face of a source with several, in the same words."""
    fps: float | None = None
    """Frames per second of the result. Default: a video's own, or one that suits it if its frames
    come at uneven times; else 25. Frames of a video stay at their times."""
    audio: bool = True
    """The driver's sound is in the videos. --no-audio: they are silent."""
    landmarks: Literal[data.LANDMARKERS] = "auto"  # type: ignore[valid-type]
    """Network. fan: face-alignment's FAN; small: the bundled one; auto: FAN if its weights are
    there, else the bundled one. The one that the encoder was trained with is best."""
    landmark_weights: Path | None = None
    """Local file of the network's weights: FAN's, or with --landmarks small one that was
    trained here."""
    align: bool = True
    """Find the faces and crop them as FFHQ does. --no-align: photos and frames are such crops
    already, and landmarks in a file are in pixels of the generator's images."""
    preserve_source: bool = True
    """The source's own landmarks reproduce it exactly, similar ones nearly so.
    --no-preserve-source: the paper's w + d."""
    batch: int = 8
    """Frames synthesized at once. It changes the time, and the result by no more than rounding."""
    video: Literal["mp4", "webm", "none"] = "mp4"
    """Format of the videos; web pages play webm."""
    pictures: bool = False
    """Also write every frame as a picture, in OUT/reenacted/ and OUT/side_by_side/."""

    def run(self) -> int:
        """Returns the exit status; raises ValueError or OSError for what cannot be used."""
        for face in (self.face, self.source_face):
            read_choice(face)
            if face != "largest" and not self.align:
                raise ValueError(
                    f"got face {face!r} with --no-align, whose pictures are one face each; "
                    "leave one of them out"
                )
        source = self.source
        if (source / LATENTS).is_file():
            source = source / LATENTS
        refined = self.source_steps > 0 and not is_latents_file(source)
        studio = studios.load(
            self.generator,
            perceptual="auto" if refined else "none",
            encoders=self.encoder,
            device=self.device,
        )
        landmarker = load_landmarker(self.landmarks, self.landmark_weights, studio.device)
        print(landmarker.note)
        driver = studio.driver(
            self.driver,
            landmarker,
            align=self.align,
            fps=self.fps,
            exclude=self.out,
            face="largest" if self.face == ALL else self.face,
        )
        for note in driver.notes:
            print(f"driver: {note}")
        if source.is_dir() or ALL in (self.face, self.source_face):
            return self._save_all(studio, driver, landmarker)
        if not is_first_process(os.environ):
            return OK
        with SourceBar(self.quiet) as callback:
            reenactment = self._prepare(
                source, self.source_face, studio, driver, landmarker, callback
            )
            reenactment.prepare()  # Ctrl-C until here leaves no files
        return self._save(reenactment, self.out)

    def _prepare(
        self,
        source: Path,
        face: str,
        studio: Studio,
        driver: Driver,
        landmarker: data.Landmarker,
        callback: Callable[[Step], None],
    ) -> Reenactment:
        return studio.reenact(
            source,
            driver,
            source_face=face,
            relative={"auto": None, "relative": True, "absolute": False}[self.driving],
            smoothing=self.smoothing,
            source_steps=self.source_steps,
            callback=callback,
            frames=self.frames,
            landmarks=landmarker,
            align=self.align,
            preserve_source=self.preserve_source,
            batch=self.batch,
        )

    def _save_all(self, studio: Studio, driver: Driver, landmarker: data.Landmarker) -> int:
        if self.out.suffix.lower() in CODECS:
            raise ValueError(
                f"got a folder of photos, and the video {self.out} for their results; expected a "
                "folder"
            )
        photos = photos_for([self.source], self.out)
        pairs = list_pairs(
            photos,
            self.out,
            self.source_face,
            driver,
            self.face,
            studio.target_reader.count_faces if self.align else lambda _: 1,
        )
        status, outcomes = OK, list[str]()
        with Claims(self.out) as claims:
            for pair in claims.share(pairs, _claim_key):
                photo, name = pair.photo, pair.name
                print(f"{photo}{f', {name}' * (len(pairs) > len(photos))}:")
                done_before, failure = False, ""
                try:
                    with SourceBar(self.quiet) as callback:
                        reenactment = self._prepare(
                            photo, pair.face, studio, pair.driver, landmarker, callback
                        )
                        done_before = reenactment.is_done(self.out / name, **self._formats)
                        if not done_before:
                            reenactment.prepare()
                except (data.PhotoError, OSError) as error:
                    failure = str(error) if str(photo) in str(error) else f"{photo}: {error}"
                    print(f"failed: {one_line(failure)}")
                else:
                    if done_before:
                        print(f"done before: {self.out / name}")
                    else:
                        status = self._save(reenactment, self.out / name)
                    if status:
                        break
                claims.tell(_claim_key(pair), {"failed": failure})
            claims.leave(lambda: outcomes.extend(x["failed"] for x in claims.outcomes()))
        if not claims.last:
            print(f"other processes go on: {self.out}")
            return status
        failed = [x for x in outcomes if x]
        done = len(outcomes) - len(failed)
        unit = "results" if len(pairs) > len(photos) else "photos"
        print(f"{done} of {len(pairs)} {unit} done, {len(failed)} failed: {self.out}")
        for reason in failed:
            print(f"  {one_line(reason)}", file=sys.stderr)
        return status or (SOME_FAILED if failed else OK)

    @property
    def _formats(self) -> dict:
        """What is written, as keywords of `Reenactment.save`."""
        video = None if self.video == "none" else self.video
        pictures = self.pictures or None
        paste = self.paste_options
        return {"video": video, "pictures": pictures, "paste_back": paste, "audio": self.audio}

    def _save(self, reenactment: Reenactment, out: Path) -> int:
        """Returns OK, or INTERRUPTED after Ctrl-C while frames are written."""
        if reenactment.source.face.note:
            print(reenactment.source.face.note)
        print(f"driving: {'relative to its first face' if reenactment.relative else 'absolute'}")
        try:
            summary = reenactment.save(out, **self._formats, quiet=self.quiet)
        except KeyboardInterrupt:
            print(f"\nstopped; the frames until then are in {out}", file=sys.stderr)
            return INTERRUPTED
        print_summary(summary, self.driver, out)
        return OK


class SourceBar:
    """The progress of the refinement of a source; a context, which ends the bar."""

    def __init__(self, quiet: bool):
        self.quiet = quiet
        self._bar: ProgressBar | None = None

    def __call__(self, step: Step) -> None:
        if self._bar is None:
            self._bar = ProgressBar(
                total=step.total, desc="source", unit="step", leave=False, disable=self.quiet
            )
        self._bar.update(step.done - self._bar.n)

    def __enter__(self) -> "SourceBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _claim_key(pair: Pair) -> str:
    """Of a photo and the name of its folder."""
    return key_of(f"{resolved(pair.photo)}\0{pair.name}")
