"""What goes in: photo files, and faces aligned as FFHQ's are."""

from data.align import Aligned as Aligned
from data.align import Face as Face
from data.align import FaceDetector as FaceDetector
from data.align import align_face as align_face
from data.align import align_faces as align_faces
from data.align import crop_quad as crop_quad
from data.align import face_quad as face_quad
from data.align import ffhq_quad as ffhq_quad
from data.align import ffhq_quad_from_landmarks as ffhq_quad_from_landmarks
from data.photos import PhotoError as PhotoError
from data.photos import find_photos as find_photos
from data.photos import fit_square as fit_square
from data.photos import read_photo as read_photo
from data.photos import resize as resize
from data.photos import to_pil as to_pil
from data.photos import to_rgb as to_rgb
from data.photos import to_tensor as to_tensor
