"""Network files, a reader per format: path -> (config, tensors). Nothing in a file is executed."""

from . import codes
from .containers import contents
from .native import check_version, read_metadata, read_tensors, write, write_tensors
from .networks import kinds, read
from .pickles import Network

__all__ = [
    "Network",
    "check_version",
    "codes",
    "contents",
    "kinds",
    "read",
    "read_metadata",
    "read_tensors",
    "write",
    "write_tensors",
]
