"""`Reenactment`: a source's face that follows a driver, written as a video or as pictures."""

import contextlib
import time
from pathlib import Path

from facsimile.data.progress import ProgressBar
from facsimile.data.video_writer import CODECS
from facsimile.training.signals import interruptible

from ..paste_back import PasteOptions
from ..workers import OrderedWorkers
from . import output
from .stream import FrameStream
from .summary import FrameLog, no_face_message, summarise


class Reenactment(FrameStream):
    """Iterate for `ReenactedFrame`s, or `save`; both begin with the driver's first frame."""

    def is_done(
        self,
        out: str | Path,
        *,
        video: str | None = "mp4",
        pictures: bool | None = None,
        paste_back: PasteOptions | None = None,
        audio: bool = True,
    ) -> bool:
        """Whether an earlier `save` to this folder finished with the same inputs and settings.

        A driver counts as the same if its path, size and modification time are.
        """
        return output.is_done(self, Path(out), video, pictures, paste_back, audio)

    def save(
        self,
        out: str | Path,
        *,
        video: str | None = "mp4",
        pictures: bool | None = None,
        paste_back: PasteOptions | None = None,
        audio: bool = True,
        quiet: bool = True,
    ) -> dict:
        """Write a video if `out` ends in .mp4 or .webm, else a folder. Returns the summary.

        The folder has source.png and source.safetensors, reenacted.mp4 and side_by_side.mp4 (by
        `video`: "mp4", "webm", None), the same as pictures in folders (`pictures`; None: if there
        is no video), landmarks.npz (the driver's, which may drive another source), and summary.json
        with the landmark errors (see `landmark_error`). A single pose gives reenacted.png and
        side_by_side.png. paste_back: every frame also in the source's whole photo, as whole.mp4,
        whole/ and whole.png; a video `out` then shows this alone. audio: videos have the driver's
        sound, if it has any. quiet: without a progress bar.
        Raises ValueError if no frame has a face, FileNotFoundError or data.PhotoError for another
        photo than the source's, OSError if `out` cannot be written, and
        KeyboardInterrupt after Ctrl-C, with all frames until then on disk.
        """
        self.prepare()  # before anything is written or timed
        settings = output.settings_of(self, video, pictures, paste_back, audio)
        paste = None if paste_back is None else output.FramePaste(self, paste_back)
        out, began = Path(out), time.perf_counter()
        log = FrameLog()
        with contextlib.ExitStack() as stack:
            write, paths = output.open_writers(
                self, out, video, pictures, stack, paste, self.driver.sound if audio else None
            )
            stop = stack.enter_context(interruptible())
            workers = stack.enter_context(OrderedWorkers(write, 1, 2 * self.batch))
            bar = ProgressBar(total=len(self) or None, unit="frame", disable=quiet or self.single)
            stack.callback(bar.close)
            with contextlib.closing(iter(self)) as frames:
                for frame in frames:
                    log.add(frame)
                    workers.put(frame)
                    bar.update()
                    if stop.is_set():
                        log.complete = False
                        break
            for _ in workers.drain():
                pass
        if log.complete and self.frames_without_face == len(log.names):
            output.remove(paths)
            raise ValueError(no_face_message(self, log))
        summary = summarise(self, log, time.perf_counter() - began) | {"settings": settings}
        if audio and self.driver.sound is not None and not self.single and not self.frames:
            suffix = out.suffix.lower() if out.suffix.lower() in CODECS else f".{video}"
            summary["sound"] = self.driver.sound.note(suffix) if suffix in CODECS else "none"
        if paste is not None and paste.lost_detail:
            summary["lost_detail"] = paste.lost_detail
        output.write_folder(self, out, log, summary)
        if not log.complete:
            raise KeyboardInterrupt
        return summary
