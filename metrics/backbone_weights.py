"""ImageNet weights of torchvision's networks: from a given file, torch's cache, or the internet."""

import threading
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from urllib import request

import torch
from torch import Tensor, nn

TIMEOUT = 5.0
"""Seconds in which the download server must answer."""


class MissingWeights(FileNotFoundError):
    """Weights that are not to be had, or damaged: the message says why and what to do."""

    def __init__(self, reason: str, remedy: str, name: str = "", state: str = "are not here"):
        """name: of the missing file. remedy: what to do, in words that do without the reason.
        state: of the weights, in a few words."""
        super().__init__(f"{reason}; {remedy}")
        self.name, self.remedy, self.state = name, remedy, state


def backbone_file(network: str, weights: Path | None = None) -> Path:
    """The file of a network's ImageNet weights: `weights` itself, or torchvision's own file.

    network: torchvision's name of the weights, such as "VGG16_Weights". Its own file is in
    torch's cache; if it is missing it is downloaded there, and its hash is checked.
    Raises MissingWeights, which names the file and the folder, when it is not available.
    """
    path, url = (Path(weights), None) if weights is not None else _torchvision_file(network)
    if path.is_file():
        return path
    if url is None:
        raise MissingWeights(f"got the weights file {path}, which does not exist", "check the path")
    try:
        _check_reachable(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), path.stem.rpartition("-")[2])
    except (OSError, HTTPException, RuntimeError) as error:
        raise MissingWeights(
            f"{path.name} is not on this machine and cannot be downloaded from {url} ({error})",
            f"put the file into {_from_home(path.parent)}, or pass its path as weights",
            path.name,
        ) from error
    return path


def load_backbone(backbone: nn.Sequential, path: Path) -> None:
    """Fill `backbone`, the first layers of a torchvision network's `features`, from a state dict.

    path: .pth or .safetensors with torchvision's names; tensors beyond the backbone are left out.
    Raises ValueError when the file holds something else, and the errors of `read_state`.
    """
    prefix = "features."
    state = {
        name.removeprefix(prefix): tensor
        for name, tensor in read_state(path).items()
        if name.startswith(prefix)
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in backbone.state_dict().items()}
    wrong = [n for n, shape in shapes.items() if n not in state or state[n].shape != shape]
    if wrong:
        expected = f"{prefix}{wrong[0]} of shape {shapes[wrong[0]]}"
        got = f"has the shape {tuple(state[wrong[0]].shape)}" if wrong[0] in state else "is missing"
        raise ValueError(
            f"got {path}, in which {len(wrong)} of {len(shapes)} tensors do not fit; expected "
            f"{expected}, which {got}; pass the state dict of torchvision's network"
        )
    backbone.load_state_dict({name: state[name] for name in shapes}, assign=True)


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a .safetensors file or a torch state dict; runs no code from the file.

    Raises ValueError when it is neither, and MissingWeights for a damaged file in torch's cache, as
    a download that was cut short leaves it.
    """
    try:
        return _read_state(path)
    except ValueError as error:
        if path.parent not in (_cache(), _cache().parents[1] / "checkpoints"):
            raise
        raise MissingWeights(
            f"{path.name} in torch's cache is cut short or damaged ({path.stat().st_size:,} bytes)",
            f"delete {_from_home(path)}, and it is downloaded again, or pass a path as weights",
            path.name,
            "are cut short or damaged",
        ) from error


def _read_state(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"got {path}, expected a safetensors file; {error}") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"got {path}, expected a state dict that loads with weights_only=True; "
            "save the network's state_dict() as .pth or .safetensors"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise ValueError(
            f"got {path}, expected a dict of tensors; save the network's state_dict() itself"
        )
    return state


def _torchvision_file(network: str) -> tuple[Path, str]:
    """(path in torch's cache, address) of torchvision's weights of a network."""
    from torchvision.models import get_weight

    url = get_weight(f"{network}.IMAGENET1K_V1").url
    return _cache() / url.rpartition("/")[2], url


def _cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _from_home(path: Path) -> str:
    """A path as people write it, with ~ for the home folder."""
    home = Path.home()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


def _check_reachable(url: str) -> None:
    """Raise OSError or HTTPException unless the server answers within TIMEOUT seconds.

    In a thread, because looking up a host's name and trying all of its addresses have no common
    timeout, and can take minutes offline.
    """
    outcome: list[Exception | None] = []

    def request_head() -> None:
        try:
            head = request.Request(url, method="HEAD", headers={"User-Agent": "torch.hub"})
            with request.urlopen(head, timeout=TIMEOUT):
                outcome.append(None)
        except (OSError, HTTPException) as error:
            outcome.append(error)

    thread = threading.Thread(target=request_head, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    error = outcome[0] if outcome else TimeoutError(f"no answer within {TIMEOUT:g} seconds")
    if error is not None:
        raise error
