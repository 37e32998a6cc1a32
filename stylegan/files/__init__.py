"""Network files: a reader per format, each path -> (config, tensors); none executes anything."""

from .containers import contents
from .native import read_tensors, write, write_tensors
from .networks import kinds, read
from .pickles import Network

__all__ = ["Network", "contents", "kinds", "read", "read_tensors", "write", "write_tensors"]
