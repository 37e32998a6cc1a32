"""What goes in: photo files, and faces aligned as FFHQ's are."""

from .align import (
    Aligned,
    Face,
    FaceDetector,
    align_face,
    align_faces,
    crop_quad,
    face_quad,
    ffhq_quad,
    ffhq_quad_from_landmarks,
)
from .drawings import draw_landmarks, draw_points
from .folders import ImageSet, load_images
from .landmarks import LANDMARKERS, Landmarker, Landmarks, landmarker
from .photos import (
    PhotoError,
    centre_square,
    find_photos,
    fit_square,
    read_photo,
    resize,
    to_pil,
    to_rgb,
    to_tensor,
)

__all__ = [
    "Aligned",
    "Face",
    "FaceDetector",
    "ImageSet",
    "LANDMARKERS",
    "Landmarker",
    "Landmarks",
    "PhotoError",
    "align_face",
    "align_faces",
    "centre_square",
    "crop_quad",
]
__all__ += [
    "draw_landmarks",
    "face_quad",
    "ffhq_quad",
    "ffhq_quad_from_landmarks",
    "find_photos",
    "fit_square",
    "load_images",
    "landmarker",
    "read_photo",
    "resize",
    "to_pil",
    "to_rgb",
    "to_tensor",
    "draw_points",
]
