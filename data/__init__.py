"""What goes in: photos, videos, faces aligned as FFHQ's are, landmarks, and sets to train on."""

from facsimile.metrics.pixels import from_uint8, to_uint8

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
from .dataset import ImageDataset, load_images
from .drawings import draw_landmarks, draw_points
from .landmarks import LANDMARKERS, Landmarker, Landmarks, landmarker
from .photo_files import find_photos, photo_bytes, photo_digest
from .photo_formats import PhotoError
from .photos import (
    PhotoWarning,
    centre_square,
    fit_square,
    read_photo,
    read_whole,
    to_pil,
    to_rgb,
    to_tensor,
    to_whole,
)

__all__ = ["Aligned", "Face", "FaceDetector", "ImageDataset", "LANDMARKERS", "Landmarker"]
__all__ += ["Landmarks", "PhotoError", "PhotoWarning", "align_face", "align_faces"]
__all__ += ["centre_square", "crop_quad"]
__all__ += ["draw_landmarks", "draw_points", "face_quad", "ffhq_quad", "ffhq_quad_from_landmarks"]
__all__ += ["find_photos", "fit_square", "from_uint8", "landmarker", "load_images", "photo_bytes"]
__all__ += ["photo_digest", "read_photo", "read_whole", "to_pil", "to_rgb", "to_tensor"]
__all__ += ["to_uint8", "to_whole"]
