"""Our own format: .safetensors with our tensor names, and the configuration as metadata."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .configs import describe, kind
from .pickles import Fault

FORMAT = "facsimile network"
VERSION = 1
"""Version of the files that `write` writes. Older files are the same, but have no version."""


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins with these 16 bytes has the header of a safetensors file."""
    return len(head) == 16 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**27


def write(
    path: str | Path, network: str, config: dict, tensors: dict[str, Tensor], *, half: bool = False
) -> None:
    """Write the tensors of a network with their configuration: a whole file, or none.

    half: in float16. Raises OSError, or ValueError if a number exceeds float16.
    """
    dtype = torch.float16 if half else torch.float32
    stored = {name: tensor.to("cpu", dtype) for name, tensor in tensors.items()}
    overflown = [name for name, x in stored.items() if half and x.isinf().any()]
    if overflown:
        raise ValueError(
            f"{overflown[0]} has numbers above what float16 holds; write float32 instead"
        )
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "network": network,
        "config": json.dumps(config),
    }
    write_tensors(path, stored, metadata)


def write_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a .safetensors file whole, or none at all; raises OSError.

    metadata: names of files that are no UTF-8 are written as far as they are.
    """
    path = Path(path)
    metadata = {
        key: value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        for key, value in metadata.items()
    }
    # Clones, because two names must not share memory in the file.
    stored = {name: x.detach().cpu().clone().contiguous() for name, x in tensors.items()}
    temporary = path.with_name(path.name + ".part")
    try:
        # Not by safetensors: its errors are no OSErrors, and only the owner can read its files.
        temporary.write_bytes(save(stored, metadata))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """(metadata, tensors) of a .safetensors file. ValueError if it is another file, or damaged."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, tensors
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no .safetensors file, or a damaged .safetensors file "
            f"({error}{_cut_short(path)}); copy or download it again"
        ) from error


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a .safetensors file; {} for another file, or none."""
    try:
        with path.open("rb") as file:
            known = is_safetensors(file.read(16))
        if not known:
            return {}
        with safe_open(path, "pt") as opened:
            return opened.metadata() or {}
    except (OSError, SafetensorError):
        return {}


def check_version(path: Path, metadata: dict[str, str], newest: int) -> int:
    """The format version of a file that facsimile wrote; 1 if its metadata has none.

    ValueError if it is newer than `newest`, the latest version that the caller reads.
    """
    text = metadata.get("version", "1")
    version = int(text) if text.isdecimal() else 0
    if version < 1:
        raise ValueError(f'{path} is damaged: its format has the version "{text}"; copy it again')
    if version > newest:
        raise ValueError(
            f"{path} was written by a newer version of facsimile: its format has the version "
            f"{version}, and this program reads up to {newest}; update facsimile"
        )
    return version


def _cut_short(path: Path) -> str:
    """The actual and the expected size of a file, for a message, if it is shorter than expected."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        whole = 8 + int.from_bytes(file.read(8), "little")
        header = file.read(whole - 8) if whole <= size else b""
    try:
        entries = json.loads(header or "{}").items()
        whole += max((x["data_offsets"][1] for k, x in entries if k != "__metadata__"), default=0)
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return ""
    return f"; cut short, {size:,} of {whole:,} bytes are there" if size < whole else ""


def kinds(path: Path) -> tuple[str, ...]:
    """("generator",) or ("discriminator",), whichever the file holds; () if it holds neither."""
    _, tensors = read_tensors(path)
    network_and_architecture = kind(tensors)
    return () if network_and_architecture is None else network_and_architecture[:1]


def read(path: Path, network: str) -> tuple[dict, dict[str, Tensor]]:
    """(config, tensors) of a generator or discriminator. Sizes come from the tensors' shapes."""
    metadata, tensors = read_tensors(path)
    if metadata.get("format") == FORMAT:
        check_version(path, metadata, VERSION)
    content, architecture = kind(tensors) or (None, None)
    if content != network:
        content = content or ("latents" if "code" in tensors else "no StyleGAN network")
        raise ValueError(
            f"{path} holds {content}; expected a {network} with the tensor names of NVIDIA's "
            "PyTorch releases, or one that facsimile convert wrote"
        )
    try:
        return describe(tensors, _configuration(metadata)), tensors
    except Fault as fault:
        raise ValueError(f"{path} {fault}") from fault
    except KeyError as error:
        name = architecture.replace("stylegan", "StyleGAN")
        raise ValueError(
            f"{path} is not a complete {name} {network}: the tensor {error} is missing"
        ) from error
    except (AttributeError, IndexError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged: its configuration or the shapes of its tensors ({error}); "
            "copy or download it again"
        ) from error


def _configuration(metadata: dict[str, str]) -> dict:
    try:
        stored = json.loads(metadata.get("config", "{}"))
    except json.JSONDecodeError as error:
        raise Fault(f"is damaged: its configuration is no JSON ({error})") from None
    if not isinstance(stored, dict):
        raise Fault("is damaged: its configuration is no JSON object")
    return stored
