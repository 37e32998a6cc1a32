"""How close two images are: the same formulas as losses and as scores."""

from .choices import PERCEPTUALS, choose
from .identity import Identity
from .landmarks import hausdorff, hausdorff_of_drawings, mean_error, worked
from .perceptual import Perceptual, distance
from .pixel import mse, psnr
from .scores import CARD, Scores, cards, gather, jsonable, mean, score
from .structural import ms_ssim, ssim
from .trunks import (
    discriminator_features,
    lpips_distance,
    squeezenet_features,
    vgg16_layers,
)

__all__ = ["CARD", "PERCEPTUALS", "Perceptual", "Scores", "cards", "choose", "distance", "gather"]
__all__ += ["Identity", "hausdorff", "hausdorff_of_drawings", "mean_error", "worked"]
__all__ += ["discriminator_features", "jsonable", "lpips_distance", "mean", "ms_ssim", "mse"]
__all__ += ["psnr", "score", "squeezenet_features", "ssim", "vgg16_layers"]
