"""Network files, a reader per format: path -> (config, tensors). Nothing in a file is executed."""

from .containers import contents
from .native import check_version, read_tensors, write, write_tensors
from .networks import kinds, read
from .pickles import Network

__all__ = [
    "Network",
    "check_version",
    "contents",
    "kinds",
    "read",
    "read_tensors",
    "write",
    "write_tensors",
]
