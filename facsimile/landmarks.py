"""The command `facsimile landmarks`: what the landmark network sees in photos."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from PIL import Image
from tqdm import tqdm

from facsimile import checkpoints, data

from . import pictures
from .inputs import free_name, keys, photos_for
from .studio import pick_device

SIDE = 256
"""Pixels of the crops that are looked at and shown."""


@dataclass(frozen=True, kw_only=True)
class FindLandmarks:
    """Find the 68 landmarks of the largest face in each photo.

    Writes OUT/NAME.json with the points in pixels of the photo, OUT/NAME.png (face, points,
    drawing), and OUT/landmarks.npz with the names and points of all photos, as train.py landmarks
    reads them. Photos without a face are listed.
    """

    photos: tyro.conf.Positional[list[Path]]
    """Photos, or folders of photos."""
    out: Path
    """Folder for the results."""
    landmarks: Literal[data.LANDMARKERS] = "auto"
    """Network. fan: face-alignment's FAN; small: the bundled one; auto: FAN where its weights are,
    else the bundled one."""
    landmark_weights: Path | None = None
    """Local file of the network's weights: FAN's, or with --landmarks small one of train.py."""
    align: bool = True
    """Find the face and crop it as FFHQ does. --no-align: the photos are such crops already."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""


def find_landmarks(command: FindLandmarks) -> int:
    """Returns 1 where some photo failed, else 0; raises ValueError or OSError on wrong use."""
    photos = photos_for(command.photos, command.out)
    device = pick_device(command.device)
    own = command.landmark_weights if command.landmarks == "small" else None
    landmarker = data.landmarker(
        command.landmarks,
        small=own or checkpoints.LANDMARKS,
        fan_weights=None if command.landmarks == "small" else command.landmark_weights,
        device=device,
    )
    print(landmarker.note)
    detector = data.FaceDetector(device) if command.align else None
    command.out.mkdir(parents=True, exist_ok=True)
    found: dict[Path, np.ndarray] = {}
    failed: list[str] = []
    taken = keys(photos)
    for path in tqdm(photos, unit="photo", disable=len(photos) < 2):
        try:
            points, score, picture = _look(path, landmarker, detector, device)
        except (data.PhotoError, OSError) as error:
            failed.append(str(error) if str(path) in str(error) else f"{path}: {error}")
            continue
        found[path] = points
        name = free_name(path.stem, command.out, taken)
        said = {
            "photo": str(path),
            "network": landmarker.name,
            "score": round(score, 4),
            "landmarks": points.round(3).tolist(),
        }
        (command.out / f"{name}.json").write_text(json.dumps(said) + "\n")
        picture.save(command.out / f"{name}.png")
    if found:
        np.savez(
            command.out / "landmarks.npz",
            names=np.array([path.name for path in found]),
            landmarks=np.stack(list(found.values())).astype(np.float32),
        )
    print(f"{len(found)} faces, {len(failed)} photos failed: {command.out}")
    for reason in failed:
        print(f"  {reason}", file=sys.stderr)
    return 1 if failed else 0


@torch.no_grad()
def _look(
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
    seen = landmarker(image)
    score = float(seen.score[0])
    if not seen.found[0]:
        raise data.PhotoError(
            f"got a picture in which the landmark network sees no upright face (score {score:.2f} "
            "of 1), expected one; use another photo"
            + ("" if detector else ", or align it by leaving --no-align out")
        )
    shown = [
        image,
        data.draw_points(image, seen.points),
        data.draw_landmarks(seen.points, SIDE, SIDE),
    ]
    picture = pictures.panels([panel[0].cpu() for panel in shown])
    points = seen.points[0].double().cpu().numpy()
    return points @ to_photo[:2, :2].T + to_photo[:2, 2], score, picture
