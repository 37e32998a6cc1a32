"""The container format of a file, recognised by its content, and the plain values in it."""

import gc
import mmap
import re
from pathlib import Path

from . import archives, native, trees
from .pickles import ZIP, Fault

MAX_FILE = 2**32
HEAD = 512
"""Bytes at the start of a file by which it is recognised."""
FIRST_BYTES = b"(]})lcdiIFNVSKJMLG"
"""Possible first bytes of a pickle of protocol 0 or 1."""
WRONG_FILES: tuple[tuple[bytes, str, str], ...] = (
    # pattern at the start of the file, what it is, what to do
    (rb"\s*(<!doctype|<html|<head|<\?xml)", "a web page", "the download went wrong: open the link "
     "in a browser, and save the file that it offers"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|BM....\0\0\0\0|RIFF....WEBP|(II\*\0|MM\0\*)"
     rb"|....ftyp(hei|hev|mif|msf|avi[fs])", "a picture",
     "pass the file of the generator"),
    (rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI", "a film", "pass the file of the generator"),
    (rb"\x08[\x01-\x20]\x12", "an ONNX model", "pass the .pkl or .pt file from which it was made"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd", "a compressed archive",
     "unpack it, and pass the network that is in it"),
    (rb".{257}ustar", "a tar archive", "unpack it, and pass the network that is in it; if it is of "
     "PyTorch before 0.4, open it there and save it again"),
    (rb"\x89HDF", "an HDF5 file", "pass a .pkl, .pt, .pth or .safetensors file"),
    (rb"\x93NUMPY", "a single numpy array", "pass the file of the generator"),
    (rb"GGUF", "a GGUF language model", "pass the file of the generator"),
    (rb"%PDF", "a PDF document", "pass the file of the generator"),
    (rb"\s*[{\[]", "a text file (JSON?)", "pass a .pkl, .pt, .pth or .safetensors file"),
)  # fmt: skip


def contents(path: str | Path) -> object:
    """The plain values in a network file: dicts, lists, tuples, sets, texts, numbers, tensors,
    arrays, and a `Network` for each object with code. Nothing in the file is executed.

    Tensors and arrays are views of the file, which is mapped into memory, and become invalid if the
    file is cut short: copy them to keep them. Bytes are memoryviews. Raises FileNotFoundError, or
    ValueError that says what the file is and what to do.
    """
    path = Path(path)
    data = map_file(path)
    head = bytes(data[:HEAD])
    if native.is_safetensors(head[:16]):
        return native.read_tensors(path)[1]
    # Thousands of small values would make the collector walk through all objects of PyTorch.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return _read(data, head)
    except Fault as fault:
        raise ValueError(f"{path} {fault}") from None
    finally:
        if was_enabled:
            gc.enable()


def map_file(path: Path) -> memoryview:
    """The bytes of a file of reasonable size, mapped into memory: changes do not reach the file."""
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"{path} {problem}; expected the file of a StyleGAN, e.g. generator.safetensors"
        )
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f"{path} is empty; download or copy it again")
    if size > MAX_FILE:
        raise ValueError(f"{path} has {size / 1e9:.1f} GB; expected a network of at most 4 GB")
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))


def _read(data: memoryview, head: bytes) -> object:
    if head.startswith(ZIP):
        tree = archives.read_zip(data)
    elif head.startswith(b"\x80") or (head[0] in FIRST_BYTES and data[-1] == ord(".")):
        tree = archives.read_pickle(data)
    else:
        raise Fault(_describe_unknown(head, len(data)))
    trees.check(tree, len(data))
    return tree


def _describe_unknown(head: bytes, size: int) -> str:
    """What a file is that cannot hold networks, and what to do."""
    if head.startswith(b"version https://git-lfs"):
        match = re.search(rb"^size (\d{1,15})$", head, re.MULTILINE)
        megabytes = f" of {int(match[1]) / 1e6:.0f} MB" if match else ""
        return f"is a Git LFS pointer, not the file{megabytes}: run git lfs pull"
    for pattern, what, remedy in WRONG_FILES:
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            return f"is {what}, not a network; {remedy}"
    is_text = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    content = "a text file" if is_text else "a file in an unknown format"
    return (
        f"is {content} ({size:,} bytes, beginning with {head[:8]!r}); expected NVIDIA's .pkl, a "
        ".pt or .pth file of torch.save, or .safetensors"
    )
