"""`facsimile align`: crop the faces in photos as FFHQ does."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from facsimile import data
from facsimile.data.face_choice import read_choice
from facsimile.exit_status import OK, SOME_FAILED
from facsimile.inputs import one_line, path_keys, photos_for, unique_name

from .options import CommonOptions, FaceText


@dataclass(frozen=True, kw_only=True)
class Align(CommonOptions):
    """Find the faces in photos and crop them as FFHQ does.

    Writes OUT/NAME.png; with --face all further faces are NAME-face2.png and so on.
    """

    photos: tyro.conf.Positional[list[Path]]
    """Photos, or folders of photos."""
    out: Path
    """Folder for the crops."""
    size: int = 1024
    """Side of the crops in pixels."""
    face: FaceText = "largest"
    """Which faces of a photo with several: largest, left, right, all, a number (1 is the largest),
    or a point of the face as X,Y in pixels."""

    def run(self) -> int:
        read_choice(self.face)
        photos = photos_for(self.photos, self.out)
        detector = data.FaceDetector()
        self.out.mkdir(parents=True, exist_ok=True)
        failed, taken = 0, path_keys(photos)
        for photo in photos:
            try:
                faces = data.align_faces(
                    data.read_photo(photo), self.size, detector, which=self.face
                )
            except (data.PhotoError, OSError) as error:
                message = str(error) if str(photo) in str(error) else f"{photo}: {error}"
                print(f"failed: {one_line(message)}")
                failed += 1
                continue
            for index, aligned in enumerate(faces):
                stem = photo.stem if index == 0 else f"{photo.stem}-face{index + 1}"
                path = self.out / f"{unique_name(stem, self.out, taken)}.png"
                aligned.image.save(path)
                print(path)
        return SOME_FAILED if failed else OK
