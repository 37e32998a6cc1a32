"""Our own format: safetensors with NVIDIA's tensor names; the metadata holds the configuration."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

FORMAT = "facsimile network"


def recognise(head: bytes) -> bool:
    """Whether a file that begins with these 16 bytes has the header of a safetensors file."""
    return len(head) == 16 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**27


def write(
    path: str | Path, network: str, config: dict, tensors: dict[str, Tensor], *, half: bool = False
) -> None:
    """Write the tensors of a network with their configuration: a whole file, or none."""
    dtype = torch.float16 if half else torch.float32
    stored = {name: tensor.to("cpu", dtype) for name, tensor in tensors.items()}
    metadata = {"format": FORMAT, "network": network, "config": json.dumps(config)}
    write_tensors(path, stored, metadata)


def write_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a .safetensors file whole, or none at all; raises OSError."""
    path = Path(path)
    # A clone each: two names must not share memory in the file.
    stored = {name: x.detach().cpu().clone().contiguous() for name, x in tensors.items()}
    temporary = path.with_name(path.name + ".part")
    try:
        # Written here and not by safetensors: its errors are no OSErrors, its files private.
        temporary.write_bytes(save(stored, metadata))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """(metadata, tensors) of a .safetensors file; ValueError where it is none, or damaged."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, tensors
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no .safetensors file, or a damaged .safetensors file ({error}); "
            "copy or download it again"
        ) from error


def read(path: Path, network: str) -> tuple[dict, dict[str, Tensor]]:
    """(config, tensors) of a generator or discriminator; what the shapes say is taken from them."""
    metadata, tensors = read_tensors(path)
    found = _kind(tensors)
    if found != network:
        raise ValueError(
            f"{path} holds {found or 'no StyleGAN network'}; expected a {network} "
            "with NVIDIA's tensor names"
        )
    stored = json.loads(metadata.get("config", "{}"))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        describe = _generator_config if network == "generator" else _discriminator_config
        return describe(shapes, stored), tensors
    except KeyError as error:
        raise ValueError(
            f"{path} is not a complete StyleGAN2 {network}: the tensor {error} is missing"
        ) from error


def _kind(tensors: dict[str, Tensor]) -> str | None:
    if "synthesis.b4.const" in tensors:
        return "generator"
    if "b4.out.weight" in tensors:
        return "discriminator"
    return "latents" if "code" in tensors else None


def _sides(shapes: dict[str, tuple], prefix: str) -> list[int]:
    names = (name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix))
    return sorted({int(name[1:]) for name in names if name[:1] == "b" and name[1:].isdigit()})


def _count(shapes: dict[str, tuple], prefix: str) -> int:
    return len({name for name in shapes if name.startswith(prefix) and name.endswith(".weight")})


def _generator_config(shapes: dict[str, tuple], stored: dict) -> dict:
    sides = _sides(shapes, "synthesis.")
    if any(".skip." in name for name in shapes):
        raise ValueError(
            'this generator has residual skips (architecture "resnet"); only "skip" is known'
        )
    labels = "mapping.embed.weight" in shapes
    w_dim = shapes["mapping.w_avg"][0]
    # z enters the first layer, beside the embedded label; without layers it is w.
    first = shapes["mapping.fc0.weight"][1] if "mapping.fc0.weight" in shapes else w_dim
    return {
        **_clamp(stored),
        "architecture": "stylegan2",
        "z_dim": first - w_dim if labels else first,
        "c_dim": shapes["mapping.embed.weight"][1] if labels else 0,
        "w_dim": w_dim,
        "img_resolution": sides[-1],
        "img_channels": shapes[f"synthesis.b{sides[-1]}.torgb.weight"][0],
        "mapping_layers": _count(shapes, "mapping.fc"),
        "channels": [shapes[f"synthesis.b{side}.conv1.weight"][0] for side in sides],
    }


def _discriminator_config(shapes: dict[str, tuple], stored: dict) -> dict:
    sides = _sides(shapes, "")
    labels = "mapping.embed.weight" in shapes
    known = {key: stored[key] for key in ("mbstd_group", "downsampling") if key in stored}
    widths = [shapes[f"b{side}.conv0.weight"][0] for side in sides[1:]]
    return {
        **_clamp(stored),
        **known,
        "img_resolution": sides[-1],
        "img_channels": shapes[f"b{sides[-1]}.fromrgb.weight"][1],
        "channels": (shapes["b4.conv.weight"][0], *widths),
        "c_dim": shapes["mapping.embed.weight"][1] if labels else 0,
        "mapping_layers": _count(shapes, "mapping.fc"),
    }


def _clamp(stored: dict) -> dict:
    """conv_clamp, which no shape tells, from our configuration or from NVIDIA's nested one."""
    return {"conv_clamp": stored.get("synthesis_kwargs", stored).get("conv_clamp")}
