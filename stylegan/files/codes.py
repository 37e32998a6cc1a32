"""Latent codes as other programs store them: arrays in .npz, .npy and .pt. Nothing is executed.

Legend: N images, L style inputs, D numbers in a w.
"""

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from .containers import contents
from .pickles import Fault, printable
from .trees import describe

KEYS = ("w", "ws", "w_plus", "wp", "latent", "latents", "latent_code", "codes", "code")
KEYS += ("w_pivot", "projected_w", "w_opt", "dlatents", "latent_codes")
"""What programs call a code in an archive or a dict."""
FINGERPRINT = "generator"
"""The key under which facsimile adds the generator's fingerprint to an .npz."""
FORMATS = ("npz", "pt", "npy")
MAX_BYTES = 2**30
NPY = b"\x93NUMPY"


@dataclass(frozen=True)
class Codes:
    """Codes of W or W+ in a file."""

    values: Tensor
    """(D,), (N, D) or (L, D), or (N, L, D): float32, all finite."""
    program: str
    """Which programs write such files."""
    fingerprint: str | None = None
    """Of the generator, if the file names it."""


def read(path: str | Path) -> Codes:
    """The codes in a file. Raises FileNotFoundError, or ValueError for a file without any."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected latent codes")
    with path.open("rb") as file:
        head = file.read(len(NPY))
        file.seek(0)
        try:
            if head == NPY:
                return Codes(_checked(_array(file, path.stat().st_size)), "a single array (.npy)")
            if head.startswith(b"PK") and (codes := _in_npz(file)) is not None:
                return codes
        except Fault as fault:
            raise ValueError(f"{path} {fault}") from None
    try:
        tree = contents(path)
    except ValueError as error:
        formats = "latent codes (.safetensors, .npz, .pt, .npy)"
        raise ValueError(f"{error}, or of {formats}") from None
    try:
        return _in_tree(tree)
    except Fault as fault:
        raise ValueError(f"{path} {fault}") from None


def write(path: Path, ws: Tensor, form: str, fingerprint: str) -> None:
    """Write ws (N, L, D) as "npz", "pt" or "npy", whole or not at all; raises OSError.

    They are what NVIDIA's projector, e4e and plain numpy read. The fingerprint of the generator is
    in the .npz alone: the others hold an array and nothing else.
    """
    array = ws.detach().float().cpu().numpy()
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            if form == "npz":
                np.savez(file, w=array, **{FINGERPRINT: np.array(fingerprint)})
            elif form == "pt":
                torch.save(torch.from_numpy(array.copy()), file)
            else:
                np.save(file, array)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _in_npz(file: BinaryIO) -> Codes | None:
    """The codes in a zip of arrays; None for another zip."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = {x.filename.removesuffix(".npy"): x for x in archive.infolist()}
            if not entries or not all(x.filename.endswith(".npy") for x in entries.values()):
                return None
            name = next((key for key in KEYS if key in entries), next(iter(entries)))
            entry = entries[name]
            with archive.open(entry) as opened:
                values = _checked(_array(opened, entry.file_size))
            return Codes(values, "NVIDIA's projector (.npz)", _fingerprint(archive, entries))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise Fault(f"is damaged: an .npz that cannot be read ({printable(str(error))})") from None


def _fingerprint(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> str | None:
    entry = entries.get(FINGERPRINT)
    if entry is None:
        return None
    with archive.open(entry) as opened:
        text = _array(opened, entry.file_size, kinds="U")
    return str(text) if text.size == 1 else None


def _array(file: BinaryIO, size: int, kinds: str = "f") -> np.ndarray:
    """The array in an .npy of `size` bytes. Its header is checked before memory is taken."""
    try:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, by_columns, dtype = read_header(file)
    except (ValueError, KeyError, EOFError, SyntaxError) as error:
        raise Fault(f"is damaged: the header of an array ({printable(str(error))})") from None
    if dtype.hasobject:
        raise Fault("holds Python objects in an array, which are not read; save plain numbers")
    if dtype.kind not in kinds:
        raise Fault(f"holds an array of {dtype}, and not of real numbers; expected codes of W")
    count = math.prod(shape) * dtype.itemsize
    if min(shape, default=1) < 0 or count > min(size, MAX_BYTES):
        raise Fault(f"is damaged or made to deceive: an array of {shape} in {size} bytes")
    content = file.read(count)
    if len(content) != count:
        raise Fault(f"is cut short: an array of {shape}; copy it again")
    array = np.frombuffer(content, dtype)
    return array.reshape(shape, order="F" if by_columns else "C")


def _in_tree(tree: object) -> Codes:
    """The codes in what `contents` returned."""
    if isinstance(tree, Tensor | np.ndarray):
        return Codes(_checked(tree), "e4e, pSp or PTI (a tensor)")
    if isinstance(tree, list | tuple) and tree:
        return Codes(_stacked(tree), "a list of codes")
    if isinstance(tree, dict) and tree:
        for key in KEYS:
            if isinstance(tree.get(key), Tensor | np.ndarray):
                return Codes(_checked(tree[key]), f'a dict with the code "{key}"')
        # rosinality's projector: {photo: {"img": .., "latent": .., "noise": [..]}}
        inner = [x.get("latent") if isinstance(x, dict) else None for x in tree.values()]
        if all(isinstance(x, Tensor | np.ndarray) for x in inner):
            return Codes(_stacked(inner), "rosinality's projector (.pt)")
        if all(isinstance(x, Tensor | np.ndarray) and x.ndim <= 2 for x in tree.values()):
            shapes = {tuple(x.shape) for x in tree.values()}
            if len(shapes) == 1:
                return Codes(_stacked(list(tree.values())), "codes by the photo's name")
    raise Fault(f"holds {describe(tree)}, and no latent codes")


def _stacked(parts: list | tuple) -> Tensor:
    """(N, D) or (N, L, D) of codes of one shape; a leading 1 of each is left out."""
    if not all(isinstance(x, Tensor | np.ndarray) for x in parts):
        raise Fault("holds a list that is not one of codes")
    tensors = [_checked(x) for x in parts]
    tensors = [x[0] if x.ndim == 3 and len(x) == 1 else x for x in tensors]
    if len({x.shape for x in tensors}) > 1 or tensors[0].ndim > 2:
        raise Fault("holds codes of different shapes; save each in a file of its own")
    return torch.stack(tensors)


def _checked(values: Tensor | np.ndarray) -> Tensor:
    """A copy in float32. Fault for what is no code."""
    tensor = torch.as_tensor(np.array(values) if isinstance(values, np.ndarray) else values)
    if not tensor.is_floating_point() or not 1 <= tensor.ndim <= 3 or not tensor.numel():
        shape = tuple(tensor.shape)
        raise Fault(
            f"holds an array of shape {shape} and type {str(tensor.dtype).removeprefix('torch.')}; "
            "expected codes such as (512,), (18, 512) or (1, 18, 512) in floating point"
        )
    if tensor.numel() * 4 > MAX_BYTES:
        raise Fault(f"holds an array of shape {tuple(tensor.shape)}, which is too large for codes")
    tensor = tensor.detach().float().clone()
    if not tensor.isfinite().all():
        raise Fault("holds codes that are not finite (NaN or infinity); make them again")
    return tensor
