"""How close two images are: the same formulas as losses and as scores."""

from .backbones import discriminator_features, lpips_distance, squeezenet_features, vgg16_layers
from .dlib_identity import DlibIdentity
from .facenet import FaceNet
from .identity import IDENTITY_NETWORKS, build_identity
from .identity_network import IDENTITY_SCORES, PICTURE_CHANNELS, IdentityNetwork, as_rgb
from .landmarks import hausdorff, hausdorff_of_drawings, nanmean_with_failures, nme
from .perceptual import Perceptual, distance
from .perceptual_metrics import PERCEPTUAL_METRICS, build_perceptual
from .pixel import mse, psnr
from .scores import DESCRIPTIONS, Scores, gather, jsonable, mean, metric_descriptions, score
from .structural import ms_ssim, ssim
from .style_network import build_style

__all__ = ["DESCRIPTIONS", "DlibIdentity", "FaceNet", "IDENTITY_NETWORKS", "IDENTITY_SCORES"]
__all__ += ["IdentityNetwork", "PERCEPTUAL_METRICS", "PICTURE_CHANNELS", "Perceptual", "Scores"]
__all__ += ["as_rgb", "build_identity", "build_perceptual", "build_style"]
__all__ += ["discriminator_features", "distance"]
__all__ += ["gather", "hausdorff", "hausdorff_of_drawings", "jsonable", "lpips_distance", "mean"]
__all__ += ["metric_descriptions", "ms_ssim", "mse", "nanmean_with_failures", "nme", "psnr"]
__all__ += ["score", "squeezenet_features", "ssim", "vgg16_layers"]
