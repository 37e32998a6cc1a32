"""A crop put back into its photo: the inverse of alignment, blended along a feathered mask.

Legend: C channels, R side of the crop's image, HxW pixels of the photo, M side of a mask, P pixels
of the photo where the mask is above 0. A quad is (4, 2), as in `align`.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from facsimile.metrics.resize import resize

from .align import crop_quad, quad_to_photo
from .photos import to_pil, to_tensor

REGIONS = ("face", "crop")
"""face: an ellipse around the face of FFHQ's crop; crop: all of it but its margin."""
MASK_SIDE = 256
"""M of the masks that are drawn here."""
FACE_CENTRE, FACE_RADII = (0.5, 0.55), (0.41, 0.44)
"""Of the ellipse, in sides of the crop. FFHQ's faces reach from ear to ear and over the chin."""
FEATHER = 0.12
"""Width over which a mask fades, in sides of the crop."""

UNCHANGED, CHANGED = 0.04, 0.16
"""Changes of colour, in [-1, 1], below which an edit has changed nothing, and above which it has
changed everything: 5 and 20 of 255 levels."""
CHANGE_REACH = 0.03
"""How far around a changed pixel the photo's details are not kept, in sides of the crop."""

SEAM_SIDE = 64
"""Side on which colours are compared at the seam."""
SEAM_SIGMA = 0.08
"""Of the Gaussian that spreads them, in sides of the crop."""
SEAM_TOLERANCE = 0.15
"""Differences of colour this far from the seam's median are of contours, and count little."""

OVERSAMPLED = 2
"""Most pixels of the image per pixel of the photo, in each direction, that are not averaged."""
SHARPENING_STEPS = 4
MAX_ENLARGEMENT = 3
"""Above, a larger face in the photo makes no difference to what enlarging and reducing loses."""


class PasteBack:
    """Pastes images of one crop into one photo; everything that they share is computed once."""

    def __init__(
        self,
        photo: Image.Image,
        quad: np.ndarray,
        side: int,
        mask: Tensor | None = None,
        *,
        residual: bool = False,
    ) -> None:
        """photo: RGB, upright. side: R. mask: (M, M) in [0, 1] over the crop; None: the face's.

        residual: keep what the photo has and the image before the edit lacks, where the edit
        changed nothing.
        """
        self.side, self.residual = side, residual
        self.photo = np.asarray(photo)  # (H, W, 3)
        self.length = float(np.hypot(*(quad[3] - quad[0])))
        mask = region_mask("face") if mask is None else mask
        self.target = to_tensor(crop_quad(photo, quad, side))
        self._place(quad, mask.float())
        self._seam = resize(mask.float()[None, None], (SEAM_SIDE, SEAM_SIDE))[0]
        self._detail = self._pixels - self._sample(self.target) if residual else None

    def _place(self, quad: np.ndarray, mask: Tensor) -> None:
        """Find the P pixels, where they lie in the crop, and how opaque the image is there."""
        height, width = self.photo.shape[:2]
        to_photo = quad_to_photo(quad, 1)
        left, top, right, bottom = _box(to_photo, mask, (width, height))
        to_crop = torch.from_numpy(np.linalg.inv(to_photo)[:2]).float()
        x = torch.arange(left, right) + 0.5
        y = (torch.arange(top, bottom) + 0.5)[:, None]
        grid = torch.stack([x * a + y * b + c for a, b, c in to_crop.tolist()], dim=2) * 2 - 1
        opacity = _sample_grid(mask[None], grid, "bilinear", "zeros")[0]
        inside = opacity > 0
        self._rows, self._columns = slice(top, bottom), slice(left, right)
        self._inside = inside.numpy()
        self._grid = grid[inside][None]  # (1, P, 2)
        self._opacity = opacity[inside]
        pixels = np.ascontiguousarray(self.photo[self._rows, self._columns][self._inside])
        self._pixels = torch.from_numpy(pixels).T.float() / 127.5 - 1  # (3, P)

    def __call__(self, image: Tensor, before: Tensor | None = None) -> Image.Image:
        """The photo with image (C, R, R) in [-1, 1] in its place.

        before: the same without the edit, which says where that changed nothing; None: the image
        itself, which nothing has changed. Pixels outside of the mask are the photo's.
        """
        image = as_rgb(image)
        keep = None
        if self.residual:
            before = image if before is None else as_rgb(before)
            keep = unchanged(image, before)
            image = image + keep * (self.target - before)
        image = image + seam_offset(image, self.target, self._seam)
        if self._detail is None:
            image = sharpen(image, self.length)
        pasted = self._sample(image)
        if self._detail is not None and keep is not None:
            pasted = pasted + self._sample(keep, "bilinear").clamp(0, 1) * self._detail
        pasted = torch.lerp(self._pixels, pasted, self._opacity)
        whole = self.photo.copy()
        levels = ((pasted + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8).T.numpy()
        whole[self._rows, self._columns][self._inside] = levels
        return Image.fromarray(whole)

    def _sample(self, image: Tensor, mode: str = "bicubic") -> Tensor:
        """Image (C, R, R) of the crop at the P pixels: (C, P)."""
        small = max(1, round(OVERSAMPLED * self.length))
        if small < self.side:  # without antialiasing, a much smaller face would glitter
            image = resize(image[None], (small, small))[0]
        return _sample_grid(image, self._grid, mode, "border")[:, 0]


def region_mask(region: str, feather: float = FEATHER) -> Tensor:
    """(M, M) in [0, 1] over a crop of FFHQ, of a region in `REGIONS`.

    feather: width over which it fades, in sides. Raises ValueError for another region or width.
    """
    if region not in REGIONS:
        raise ValueError(f'got the region "{region}", expected one of {", ".join(REGIONS)}')
    if not 0 <= feather < 0.4:
        raise ValueError(f"got a feather of {feather:g} sides of the crop, expected 0 to 0.4")
    x = (torch.arange(MASK_SIDE) + 0.5) / MASK_SIDE
    if region == "face":
        across, down = ((x - c) / r for c, r in zip(FACE_CENTRE, FACE_RADII, strict=True))
        distance = (1 - torch.hypot(across[None, :], down[:, None])) * min(FACE_RADII)
    else:
        edge = torch.minimum(x, 1 - x)
        distance = torch.minimum(edge[None, :], edge[:, None])
    if feather == 0:
        return (distance > 0).float()
    return _smoothstep(distance / feather)


def surround(mask: Tensor) -> Tensor:
    """(M, M): 1 where a mask (R, R) is above 0, fading around it and towards the crop's edges."""
    reach = max(1, round(FEATHER / 2 * MASK_SIDE))
    kernel = 2 * reach + 1
    wide = resize(mask.detach().float().cpu()[None, None], (MASK_SIDE, MASK_SIDE))
    wide = functional.max_pool2d((wide > 1e-3).float(), kernel, 1, reach)
    soft = functional.avg_pool2d(wide, kernel, 1, reach, count_include_pad=False)[0, 0]
    return soft * region_mask("crop", FEATHER / 2)


def unchanged(image: Tensor, before: Tensor) -> Tensor:
    """(1, R, R): 1 where an edit of `before` (C, R, R) into `image` has changed nothing, 0 where
    it has, and around it."""
    change = (image - before).abs().amax(0, keepdim=True)
    reach = max(1, round(CHANGE_REACH * change.shape[-1]))
    kernel = 2 * reach + 1
    change = functional.max_pool2d(change, kernel, stride=1, padding=reach)
    change = functional.avg_pool2d(change, kernel, 1, reach, count_include_pad=False)
    return 1 - _smoothstep((change - UNCHANGED) / (CHANGED - UNCHANGED))


def seam_offset(image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """(3, R, R), what is added to the image so that its colours at the seam are the target's.

    image, target: (3, R, R). mask: (1, S, S), the seam is where it is between 0 and 1. The
    differences there are carried inwards smoothly, as in seamless cloning (Perez et al. 2003, with
    a Gaussian in place of the membrane). Zero where the mask has no seam.
    """
    side = mask.shape[-1]
    weight = 4 * mask * (1 - mask)
    if not (weight > 0.1).any():
        return torch.zeros_like(target)
    difference = resize((target - image)[None], (side, side))[0]
    at_seam = difference[:, weight[0] > 0.1]  # (3, pixels)
    median = at_seam.median(dim=1).values[:, None, None]
    odd = (difference - median).square().sum(0, keepdim=True)
    weight = weight * torch.exp(-odd / (2 * SEAM_TOLERANCE**2))
    x = torch.arange(side).to(mask) / side
    blur = torch.exp(-((x[:, None] - x[None, :]) ** 2) / (2 * SEAM_SIGMA**2))
    share = blur @ weight @ blur
    little = 1e-3 * share.max()  # far from every seam: the median
    offset = (blur @ (weight * difference) @ blur + little * median) / (share + little)
    size = target.shape[-2:]
    return functional.interpolate(offset[None], size, mode="bicubic", align_corners=False)[0]


def sharpen(image: Tensor, length: float) -> Tensor:
    """The image (3, R, R) such that, enlarged to `length` pixels and cropped again as
    `crop_quad` does, it is as it was: some steps of back-projection (Irani and Peleg 1991).

    Nothing is done for a length below R, which loses more than sharpening brings back.
    """
    side = image.shape[-1]
    large = round(min(length, MAX_ENLARGEMENT * side))
    if large < side:
        return image
    whole = np.array([(0, 0), (0, large), (large, large), (large, 0)], dtype=np.float64)
    sharp = image
    for _ in range(SHARPENING_STEPS):
        enlarged = functional.interpolate(sharp[None], (large, large), mode="bicubic")[0]
        sharp = sharp + image - to_tensor(crop_quad(to_pil(enlarged), whole, side))
    return sharp


def as_rgb(image: Tensor) -> Tensor:
    """Image (1, 3 or 4, R, R) as (3, R, R), float32, on the CPU."""
    image = image.detach().float().cpu()
    return image.expand(3, -1, -1) if len(image) == 1 else image[:3]


def _box(to_photo: np.ndarray, mask: Tensor, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """left, top, right, bottom of the photo's pixels that the mask may reach; to_photo: from a
    crop of side 1."""
    used = [(mask > 0).any(dim).nonzero()[:, 0] for dim in (0, 1)]
    if not all(len(x) for x in used):
        return 0, 0, 0, 0
    # One pixel of the mask more, as it is sampled bilinearly.
    ends = [((int(x[0]) - 1) / len(mask), (int(x[-1]) + 2) / len(mask)) for x in used]
    corners = np.array([(x, y, 1) for x in ends[0] for y in ends[1]]) @ to_photo.T
    low = np.floor(corners.min(axis=0)[:2]).astype(int).clip(0, size)
    high = np.ceil(corners.max(axis=0)[:2]).astype(int).clip(0, size)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _sample_grid(image: Tensor, grid: Tensor, mode: str, padding: str) -> Tensor:
    """image: (C, H, W); grid: (h, w, 2) in [-1, 1]. Returns (C, h, w)."""
    if grid.numel() == 0:
        return image.new_zeros(len(image), *grid.shape[:2])
    return functional.grid_sample(
        image[None], grid[None], mode=mode, padding_mode=padding, align_corners=False
    )[0]


def _smoothstep(x: Tensor) -> Tensor:
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)
