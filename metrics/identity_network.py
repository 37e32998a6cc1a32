"""What every network that recognises people offers: embeddings, their distance, one threshold.

Legend: N images, C channels (1, 3 or 4), S side of an aligned picture, D numbers of an embedding.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from .checks import check_images, check_pair

IDENTITY_SCORES = frozenset({"identity_distance", "identity_cosine", "same_person"})
"""Names of the metrics that `IdentityNetwork.scores` gives."""
PICTURE_CHANNELS = (1, 3, 4)
"""Grey, RGB, RGBA."""


class IdentityNetwork(nn.Module):
    """Who is in a picture. Frozen, in float32, differentiable with respect to the images.

    Images are faces aligned as FFHQ's are, (N, C, S, S) in [-1, 1], of any side. The images of a
    batch do not influence one another.
    """

    name: str
    """As `build_identity` takes it."""
    title: str
    """The network in words, for the descriptions of scores."""
    note: str
    """One sentence for the user: which network this is, and why."""
    threshold: float
    """Two pictures show the same person where the distance of their embeddings is below it."""

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (N, D) of faces (N, C, S, S); ValueError for another shape."""
        check_images(images)
        if images.shape[2] != images.shape[3]:
            raise ValueError(
                f"got images of {images.shape[3]}x{images.shape[2]} pixels, expected squares "
                "aligned as FFHQ's faces are; align the faces first"
            )
        with torch.autocast(images.device.type, enabled=False):
            return self._embed(images.to(next(self.parameters()).dtype))

    @abstractmethod
    def _embed(self, images: Tensor) -> Tensor:
        """`embed` of images in the network's own precision."""

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """(N,) Euclidean distances of the embeddings of a and b; see `threshold`."""
        check_pair(a, b)
        return torch.linalg.vector_norm(self.embed(a) - self.embed(b), dim=1)

    def cosine(self, a: Tensor, b: Tensor) -> Tensor:
        """(N,) cosines of the embeddings of a and b."""
        check_pair(a, b)
        return cosine_similarity(self.embed(a), self.embed(b))

    def same_person(self, a: Tensor, b: Tensor) -> Tensor:
        """(N,) bool: whether a and b show the same person by the network's threshold."""
        return self.distance(a, b) < self.threshold

    @torch.no_grad()
    def scores(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """The metrics of IDENTITY_SCORES, (N,) each; "same_person" is 1 or 0."""
        check_pair(a, b)
        first, second = self.embed(a), self.embed(b)
        distance = torch.linalg.vector_norm(first - second, dim=1)
        return {
            "identity_distance": distance,
            "identity_cosine": cosine_similarity(first, second),
            "same_person": (distance < self.threshold).to(distance.dtype),
        }

    def descriptions(self) -> dict[str, str]:
        """The sentence of each metric of `scores`."""
        face = f"{self.title}, fixed crop of faces aligned as FFHQ's"
        return {
            "identity_distance": f"Euclidean distance of the embeddings of two faces ({face}); "
            "0 = equal, lower is better",
            "identity_cosine": f"cosine of the embeddings of two faces ({face}); 1 = equal, higher "
            "is better",
            "same_person": f"1 where identity_distance is below {self.threshold:.4g}, else 0; "
            "higher is better",
        }


def as_rgb(images: Tensor) -> Tensor:
    """(N, 3, H, W) of grey (1), RGB (3) or RGBA (4) images."""
    if images.shape[1] == 1:
        return images.expand(-1, 3, -1, -1)
    if images.shape[1] in PICTURE_CHANNELS:
        return images[:, :3]
    raise ValueError(
        f"got images of {images.shape[1]} channels, expected 1, 3 or 4: people are recognised in "
        "pictures"
    )
