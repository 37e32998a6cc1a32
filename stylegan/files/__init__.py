"""Network files, a reader per format: path -> (config, tensors). Nothing in a file is executed."""

from . import codes
from .containers import contents
from .native import check_version, is_safetensors, read_tensors, write, write_tensors
from .networks import kinds, read
from .pickles import Network

__all__ = [
    "Network",
    "check_version",
    "codes",
    "contents",
    "is_safetensors",
    "kinds",
    "read",
    "read_tensors",
    "write",
    "write_tensors",
]
