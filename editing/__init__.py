"""What changes faces: motion of landmarks for reenactment."""

from .motions import MOTIONS, mouth, smile, yaw
from .reenact import Motion, OneEuro, hold, morph, relative, similarity, smooth

__all__ = ["Motion", "OneEuro", "hold", "morph", "relative", "similarity", "smooth"]
__all__ += ["MOTIONS", "mouth", "smile", "yaw"]
