"""How close two images are: the same formulas as losses and as scores."""

from .choices import PERCEPTUAL_METRICS, build_perceptual
from .identity import Identity
from .landmarks import hausdorff, hausdorff_of_drawings, nanmean_with_failures, nme
from .perceptual import Perceptual, distance
from .pixel import mse, psnr
from .scores import CARD, Scores, gather, jsonable, mean, metric_descriptions, score
from .structural import ms_ssim, ssim
from .trunks import (
    discriminator_features,
    lpips_distance,
    squeezenet_features,
    vgg16_layers,
)

__all__ = [
    "CARD",
    "PERCEPTUAL_METRICS",
    "Perceptual",
    "Scores",
    "metric_descriptions",
    "build_perceptual",
    "distance",
    "gather",
]
__all__ += ["Identity", "hausdorff", "hausdorff_of_drawings", "nanmean_with_failures", "nme"]
__all__ += ["discriminator_features", "jsonable", "lpips_distance", "mean", "ms_ssim", "mse"]
__all__ += ["psnr", "score", "squeezenet_features", "ssim", "vgg16_layers"]
