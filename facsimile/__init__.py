"""The front door: a photo in, its latents and its redrawn face out."""

from .result import Result
from .studio import Studio, load

__all__ = ["Result", "Studio", "load"]
