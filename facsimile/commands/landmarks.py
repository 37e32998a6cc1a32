"""`facsimile landmarks`: the 68 landmarks of the faces in photos."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from PIL import Image

from facsimile import data, pictures
from facsimile.data.progress import ProgressBar
from facsimile.devices import pick_device
from facsimile.exit_status import OK, SOME_FAILED
from facsimile.inputs import one_line, path_keys, photos_for, unique_name
from facsimile.landmarks import load_landmarker

from .options import ComputeOptions

SIDE = 256
"""Side in pixels of the crops in which landmarks are detected, and of the pictures."""


@dataclass(frozen=True, kw_only=True)
class Landmarks(ComputeOptions):
    """Find the 68 landmarks of the largest face in each photo.

    Writes OUT/NAME.json with the points in pixels of the photo, OUT/NAME.png (face, points,
    drawing), and OUT/landmarks.npz with the names and points of all photos, which facsimile train
    landmarks reads. Photos without a face are listed.
    """

    photos: tyro.conf.Positional[list[Path]]
    """Photos, or folders of photos."""
    out: Path
    """Folder for the results."""
    landmarks: Literal[data.LANDMARKERS] = "auto"  # type: ignore[valid-type]
    """Network. fan: face-alignment's FAN; small: the bundled one; auto: FAN if its weights are
    there, else the bundled one."""
    landmark_weights: Path | None = None
    """Local file of the network's weights: FAN's, or with --landmarks small one that was
    trained here."""
    align: bool = True
    """Find the face and crop it as FFHQ does. --no-align: the photos are such crops already."""

    def run(self) -> int:
        photos = photos_for(self.photos, self.out)
        device = pick_device(self.device)
        landmarker = load_landmarker(self.landmarks, self.landmark_weights, device)
        print(landmarker.note)
        detector = data.FaceDetector() if self.align else None
        self.out.mkdir(parents=True, exist_ok=True)
        landmarks: dict[Path, np.ndarray] = {}
        failed: list[str] = []
        taken = path_keys(photos)
        for path in ProgressBar(photos, unit="photo", disable=self.quiet or len(photos) < 2):
            try:
                points, score, picture = _detect(path, landmarker, detector, device)
            except (data.PhotoError, OSError) as error:
                failed.append(str(error) if str(path) in str(error) else f"{path}: {error}")
                continue
            landmarks[path] = points
            name = unique_name(path.stem, self.out, taken)
            record = {
                "photo": str(path),
                "network": landmarker.name,
                "score": round(score, 4),
                "landmarks": points.round(3).tolist(),
            }
            (self.out / f"{name}.json").write_text(json.dumps(record) + "\n")
            picture.save(self.out / f"{name}.png")
        if landmarks:
            np.savez(
                self.out / "landmarks.npz",
                names=np.array([path.name for path in landmarks]),
                landmarks=np.stack(list(landmarks.values())).astype(np.float32),
            )
        faces = f"{len(landmarks)} face{'s' * (len(landmarks) != 1)}"
        print(f"{faces}, {len(failed)} photos failed: {self.out}")
        for reason in failed:
            print(f"  {one_line(reason)}", file=sys.stderr)
        return SOME_FAILED if failed else OK


@torch.no_grad()
def _detect(
    path: Path,
    landmarker: data.Landmarker,
    detector: data.FaceDetector | None,
    device: torch.device,
) -> tuple[np.ndarray, float, Image.Image]:
    """(points (68, 2) in pixels of the photo, score, picture); PhotoError without a face."""
    photo = data.read_photo(path)
    if detector is None:
        face, to_photo = data.fit_square(photo, SIDE), np.diag([photo.width / SIDE] * 2 + [1.0])
    else:
        (aligned,) = data.align_faces(photo, SIDE, detector)
        face, to_photo = aligned.image, aligned.to_photo
    image = data.to_tensor(face)[None].to(device)
    detected = landmarker(image)
    score = float(detected.score[0])
    if not detected.is_face[0]:
        raise data.PhotoError(
            f"got a picture in which the landmark network sees no upright face (score {score:.2f} "
            "of 1), expected one; use another photo"
            + ("" if detector else ", or align it by leaving --no-align out")
        )
    panels = [
        image,
        data.draw_points(image, detected.points),
        data.draw_landmarks(detected.points, SIDE, SIDE),
    ]
    picture = pictures.panels([panel[0].cpu() for panel in panels])
    points = detected.points[0].cpu().double().numpy()
    return points @ to_photo[:2, :2].T + to_photo[:2, 2], score, picture
