"""The device that a name stands for."""

import torch


def pick_device(name: str) -> torch.device:
    """The device called "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1" or "mps".

    Raises ValueError if this machine does not have it.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, present in available.items() if present), "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f'"{name}" is not a device; choose auto, cpu, cuda, cuda:1 or mps'
        ) from error
    if not available.get(device.type, True):
        raise ValueError(f'this machine has no "{name}"; choose --device cpu')
    return device
