"""FaceNet: who is in a picture, by facenet-pytorch's InceptionResnetV1, trained on VGGFace2.

Legend: N images, HxW pixels. It separates people less well than ArcFace networks, so that their
numbers cannot be compared. Do not use it to score a network that was trained with it.
"""

from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, pad

from .backbone_weights import read_state
from .checks import check_images, check_pair
from .face_crops import FaceCrop
from .identity_network import IdentityNetwork, as_rgb
from .resize import resize

FILE = "20180402-114759-vggface2.pt"
BOX_SIZE = 160
"""Pixels a side to which a box is resized."""
WHOLE_SIZE, BORDER = 128, 11
"""Pixels a side of a whole image, and of the border of zeros that makes it 150, for CSIM."""
CROP = FaceCrop(center=(0.488, 0.550), size=(0.546, 0.720))
"""The box of MTCNN, facenet-pytorch's detector: means over 100 FFHQ faces. As there, it becomes a
square. Its deviations are 0.04 of the side horizontally and 0.015 vertically, of its size 0.03 and
0.055."""
LFW_THRESHOLD = 1.242
"""Squared distance that separates people best on Labeled Faces in the Wild ("FaceNet: A Unified
Embedding for Face Recognition and Clustering", section 5.6). It was measured on the paper's own
network."""

DESCRIPTIONS = {
    "csim": "cosine of FaceNet (InceptionResnetV1, VGGFace2) on whole aligned faces of 128 px with "
    "a border of zeros of 11; 1 = equal, higher is better",
    "identity": "cosine of FaceNet (InceptionResnetV1, VGGFace2) on the box of the target's face "
    "in both images, at 160 px; 1 = equal, higher is better",
}


class FaceNet(IdentityNetwork):
    """FaceNet, frozen. Embeddings (N, 512) are unit vectors."""

    name = "facenet"
    threshold = LFW_THRESHOLD**0.5
    title = "FaceNet, InceptionResnetV1 on VGGFace2"
    note = "identity: FaceNet (InceptionResnetV1, VGGFace2)"

    def __init__(self, weights: str | Path | None = None):
        """weights: the network's file; None: facenet-pytorch's own, from the cache or the internet.

        Raises FileNotFoundError, which names the file and the folder, or ValueError for a file of
        another network.
        """
        super().__init__()
        from facenet_pytorch import InceptionResnetV1  # slow to import, and needs torchvision

        path = weights_file(weights)
        self.network = InceptionResnetV1(pretrained=None, classify=False)
        state = {
            name: tensor
            for name, tensor in read_state(path).items()
            if not name.startswith("logits.")  # classifies the people of the training set
        }
        try:
            self.network.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(
                f"got {path}, which does not hold InceptionResnetV1 "
                f"({str(error).splitlines()[-1].strip()[:200]}); expected {FILE}"
            ) from error
        self.eval().requires_grad_(False)

    def csim(self, a: Tensor, b: Tensor) -> Tensor:
        """Cosine of whole images, (N,): at 128 px with a border of zeros of 11, 150 in all.

        "Learning an Encoder for Image Editing within a StyleGAN Latent Space", section 3, and its
        code. a, b: aligned faces (N, 3, S, S) in [-1, 1].
        """
        check_pair(a, b)
        return cosine_similarity(self.embed_whole(a), self.embed_whole(b))

    def similarity(self, a: Tensor, b: Tensor, boxes: Tensor) -> Tensor:
        """Cosine of crops to the same box in both images, (N,): the metric "identity".

        a, b: (N, 3, H, W) in [-1, 1]. boxes: (N, 4) or (1, 4), x0, y0, x1, y1 in pixels, of the
        faces detected in the target. Detecting them in both would measure the detector's noise.
        """
        check_pair(a, b)
        return cosine_similarity(self.embed_boxes(a, boxes), self.embed_boxes(b, boxes))

    def embed_whole(self, images: Tensor) -> Tensor:
        """Unit vectors (N, 512) of whole images, as for CSIM."""
        check_images(images)
        return self._run(pad(resize(images, (WHOLE_SIZE,) * 2), (BORDER,) * 4))

    def embed_boxes(self, images: Tensor, boxes: Tensor) -> Tensor:
        """Unit vectors (N, 512) of boxes (N, 4) or (1, 4), at 160 px.

        Raises ValueError for boxes outside of the images.
        """
        check_images(images)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) not in (1, len(images)):
            raise ValueError(
                f"got boxes of shape {tuple(boxes.shape)} for {len(images)} images, expected "
                f"({len(images)}, 4) or (1, 4): x0, y0, x1, y1 in pixels"
            )
        height, width = images.shape[2:]
        crops = []
        for image, box in zip(images, boxes.expand(len(images), 4).tolist(), strict=True):
            x0, y0, x1, y1 = (round(edge) for edge in box)
            x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
            if x1 <= x0 or y1 <= y0:
                raise ValueError(
                    f"got a face box ({', '.join(f'{edge:g}' for edge in box)}) outside of "
                    f"the image of {width}x{height}; expected pixels of that image"
                )
            crops.append(resize(image[None, :, y0:y1, x0:x1], (BOX_SIZE, BOX_SIZE)))
        return self._run(torch.cat(crops))

    def _embed(self, images: Tensor) -> Tensor:
        return self._run(CROP.sample(images, BOX_SIZE))

    def _run(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            parameter = next(self.network.parameters())
            return self.network(as_rgb(images.to(parameter.dtype)))


def weights_file(weights: str | Path | None = None) -> Path:
    """`weights` itself, or facenet-pytorch's own file, downloaded when it is missing."""
    if weights is not None:
        if not Path(weights).is_file():
            raise FileNotFoundError(
                f"got FaceNet's weights as {weights}, which does not exist; check the path"
            )
        return Path(weights)
    from facenet_pytorch.models import inception_resnet_v1

    path = Path(inception_resnet_v1.get_torch_home()) / "checkpoints" / FILE
    if not path.is_file():
        try:
            inception_resnet_v1.InceptionResnetV1(
                pretrained="vggface2"
            )  # downloads it to this path
        except (OSError, HTTPException, RuntimeError) as error:
            raise FileNotFoundError(
                f"{FILE} is not in {path.parent} and cannot be downloaded ({error}); put the file "
                "into that folder, or pass its path as weights"
            ) from error
    return path
