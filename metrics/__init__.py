"""How close two images are: the same formulas as losses and as scores."""

from .backbones import discriminator_features, lpips_distance, squeezenet_features, vgg16_layers
from .dlib_identity import DlibIdentity
from .facenet import FaceNet
from .identity import IDENTITY_NETWORKS, IdentityNetwork, build_identity
from .landmarks import hausdorff, hausdorff_of_drawings, nanmean_with_failures, nme
from .perceptual import Perceptual, distance
from .perceptual_metrics import PERCEPTUAL_METRICS, build_perceptual
from .pixel import mse, psnr
from .scores import DESCRIPTIONS, Scores, gather, jsonable, mean, metric_descriptions, score
from .structural import ms_ssim, ssim

__all__ = ["DESCRIPTIONS", "IDENTITY_NETWORKS", "PERCEPTUAL_METRICS", "DlibIdentity", "FaceNet"]
__all__ += [
    "IdentityNetwork",
    "Perceptual",
    "Scores",
    "build_identity",
    "build_perceptual",
    "discriminator_features",
    "distance",
    "gather",
    "hausdorff",
]
__all__ += ["hausdorff_of_drawings", "jsonable", "lpips_distance", "mean", "metric_descriptions"]
__all__ += ["ms_ssim", "mse", "nanmean_with_failures", "nme", "psnr", "score"]
__all__ += ["squeezenet_features", "ssim", "vgg16_layers"]
