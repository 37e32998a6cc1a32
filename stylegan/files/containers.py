"""Which container a file is, told by its content, and the plain values in it."""

import gc
import mmap
import re
from pathlib import Path

from . import archives, native, trees
from .pickles import Fault

LARGEST_FILE = 2**32
TOO_LARGE = "expected a network of at most 4 GB"
HEAD = 256
STARTS = b"(]})lcdiIFNVSKJMLG"
"""Bytes with which a pickle of protocol 0 or 1 begins."""
WRONG_FILES: tuple[tuple[bytes, str, str], ...] = (
    # pattern at the start of the file, what it is, what to do
    (rb"\s*(<!doctype|<html|<head|<\?xml)", "a web page", "the download went wrong: open the link "
     "in a browser, and save the file that it offers"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|BM....\0\0\0\0|RIFF....WEBP|(II\*\0|MM\0\*)", "a picture",
     "pass the file of the generator"),
    (rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI", "a film", "pass the file of the generator"),
    (rb"\x08[\x01-\x20]\x12", "an ONNX model", "pass the .pkl or .pt file that it was made from"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd", "a compressed archive",
     "unpack it, and pass the network that is in it"),
    (rb"\x89HDF", "an HDF5 file", "pass a .pkl, .pt, .pth or .safetensors file"),
    (rb"\x93NUMPY", "a single numpy array", "pass the file of the generator"),
    (rb"GGUF", "a GGUF language model", "pass the file of the generator"),
    (rb"%PDF", "a PDF document", "pass the file of the generator"),
    (rb"\s*[{\[]", "a text file (JSON?)", "pass a .pkl, .pt, .pth or .safetensors file"),
)  # fmt: skip


def contents(path: str | Path) -> object:
    """The plain values in a network file: dicts, lists, tuples, sets, texts, numbers, tensors,
    arrays, and a `Network` for each object with code. Nothing in the file is executed.

    Tensors and arrays are views of the file as it is mapped into memory: copy what is to stay, for
    they do not outlive a file that is cut short. Bytes are memoryviews. Raises FileNotFoundError,
    or ValueError that says what the file is and what to do.
    """
    path = Path(path)
    data = opened(path)
    head = bytes(data[:HEAD])
    if native.recognise(head[:16]):
        return native.read_tensors(path)[1]
    # Thousands of small values would send the collector through all of PyTorch's objects.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _read(data, head)
    except Fault as fault:
        raise ValueError(f"{path} {fault}") from None
    finally:
        if collecting:
            gc.enable()


def opened(path: Path) -> memoryview:
    """The bytes of a file of reasonable size. They are mapped: a change stays in memory."""
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"{path} {found}; expected the file of a StyleGAN, e.g. generator.safetensors"
        )
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f"{path} is empty; download or copy it again")
    if size > LARGEST_FILE:
        raise ValueError(f"{path} has {size / 1e9:.1f} GB; {TOO_LARGE}")
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))


def _read(data: memoryview, head: bytes) -> object:
    if head.startswith(b"PK"):
        tree = archives.read_zip(data)
    elif head.startswith(b"\x80") or (head[0] in STARTS and data[-1] == ord(".")):
        tree = archives.read_pickle(data)
    else:
        raise Fault(_stranger(head, len(data)))
    trees.check(tree, len(data))
    return tree


def _stranger(head: bytes, size: int) -> str:
    """What a file is that is no container of networks, and what to do."""
    if head.startswith(b"version https://git-lfs"):
        meant = re.search(rb"^size (\d{1,15})$", head, re.MULTILINE)
        of = f" of {int(meant[1]) / 1e6:.0f} MB" if meant else ""
        return f"is a Git LFS pointer, not the file{of}: run git lfs pull"
    for pattern, what, remedy in WRONG_FILES:
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            return f"is {what}, not a network; {remedy}"
    text = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    found = "a text file" if text else "a file in a format that is not known here"
    return (
        f"is {found} ({size:,} bytes, beginning with {head[:8]!r}); known are NVIDIA's .pkl, "
        ".pt and .pth files of torch.save, and .safetensors"
    )
