"""The configuration of a network: sizes from the shapes of its tensors, the rest from its file.

Tensors have our names: NVIDIA's for StyleGAN2, and our own for StyleGAN1 and StyleGAN3.
"""

import re
from collections.abc import Callable

from torch import Tensor

from .pickles import Fault, printable
from .translation import check_constant

# Settings of a StyleGAN3 that no shape contains, as in the release (NVlabs/stylegan3, config T).
STYLEGAN3 = {
    "num_critical": 2,
    "first_cutoff": 2,
    "first_stopband": 2**2.1,
    "last_stopband_rel": 2**0.3,
    "margin_size": 10,
    "output_scale": 0.25,
    "conv_clamp": 256,
    "filter_size": 6,
    "lrelu_upsampling": 2,
    "use_radial_filters": False,
}


def kind(tensors: dict[str, Tensor]) -> tuple[str, str] | None:
    """("generator" or "discriminator", architecture) of tensors with our names; else None."""
    for architecture, (characteristic, _) in GENERATORS.items():
        if characteristic in tensors:
            return "generator", architecture
    if "b4.out.weight" in tensors:
        residual = any(".skip." in name for name in tensors)
        return "discriminator", "stylegan2" if residual else "stylegan1"
    return None


def describe(tensors: dict[str, Tensor], stored: dict) -> dict:
    """The configuration of a network, of numbers, strings and lists.

    stored: the settings in its file. Raises Fault for an unsupported network, and KeyError with the
    name of a missing tensor.
    """
    network, architecture = kind(tensors) or ("", "")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if network == "discriminator":
        return _discriminator(architecture, shapes, stored)
    if network != "generator":
        raise Fault("holds no StyleGAN that this version knows")
    _, describe_synthesis = GENERATORS[architecture]
    computed = {"w_avg_computed": True} if stored.get("w_avg_computed") else {}
    return {
        "architecture": architecture,
        **_mapping(shapes),
        **describe_synthesis(shapes, stored),
        **computed,
    }


def _mapping(shapes: dict[str, tuple]) -> dict:
    has_labels = "mapping.embed.weight" in shapes
    w_dim = shapes["mapping.w_avg"][-1]
    # The first layer takes z and the embedded label; without layers, z is w.
    first = shapes["mapping.fc0.weight"][1] if "mapping.fc0.weight" in shapes else w_dim
    return {
        "z_dim": first - w_dim if has_labels else first,
        "c_dim": shapes["mapping.embed.weight"][1] if has_labels else 0,
        "w_dim": w_dim,
        "mapping_layers": _count(shapes, r"mapping\.fc\d+\.weight"),
    }


def _stylegan1(shapes: dict[str, tuple], stored: dict) -> dict:
    blocks = _count(shapes, r"synthesis\.layer\d+\.bias") // 2
    return {
        "img_resolution": 4 * 2 ** (blocks - 1),
        "img_channels": shapes["synthesis.torgb.weight"][0],
        "channels": [shapes[f"synthesis.layer{2 * i + 1}.weight"][0] for i in range(blocks)],
        "fused_from": stored.get("fused_from", 128),
        "w_per_layer": len(shapes["mapping.w_avg"]) == 2,
    }


def _stylegan2(shapes: dict[str, tuple], stored: dict) -> dict:
    if any(".skip." in name for name in shapes):
        raise Fault(
            'holds a generator with residual skips (architecture "resnet"); only "skip" is known'
        )
    resolutions = _resolutions(shapes, "synthesis.")
    check_constant(shapes["synthesis.b4.const"])
    return {
        "img_resolution": resolutions[-1],
        "img_channels": shapes[f"synthesis.b{resolutions[-1]}.torgb.weight"][0],
        "channels": [shapes[f"synthesis.b{size}.conv1.weight"][0] for size in resolutions],
        "conv_clamp": _clamp(stored),
    }


def _stylegan3(shapes: dict[str, tuple], stored: dict) -> dict:
    layers = _count(shapes, r"synthesis\.L\d+\.weight")
    weights = [shapes[f"synthesis.L{index}.weight"] for index in range(layers)]
    if "img_resolution" not in stored:
        raise Fault("lacks the setting img_resolution, which no shape of a StyleGAN3 contains")
    return {
        **{key: stored.get(key, value) for key, value in STYLEGAN3.items()},
        "img_resolution": stored["img_resolution"],
        "img_channels": weights[-1][0],
        "channels": [weight[0] for weight in weights],
        "conv_kernel": weights[0][-1],
        # Not counting toRGB.
        "num_layers": layers - 1,
    }


GENERATORS: dict[str, tuple[str, Callable[[dict[str, tuple], dict], dict]]] = {
    "stylegan2": ("synthesis.b4.const", _stylegan2),
    "stylegan1": ("synthesis.layer0.const", _stylegan1),
    "stylegan3": ("synthesis.input.freqs", _stylegan3),
}
"""Architecture -> (a tensor that only this one has, its part of the configuration)."""


def _discriminator(architecture: str, shapes: dict[str, tuple], stored: dict) -> dict:
    resolutions = _resolutions(shapes, "")
    has_mapping = "mapping.embed.weight" in shapes
    width, inputs = shapes["b4.conv.weight"][:2]
    if inputs != width + 1:
        raise Fault(
            f"holds a discriminator whose last convolution takes {inputs} channels; expected "
            f"{width + 1}, with one of the minibatch standard deviation"
        )
    outputs = shapes["b4.out.weight"][0]
    if architecture == "stylegan2" and not has_mapping and outputs != 1:
        raise Fault(
            f"holds a discriminator with an output for each of {outputs} labels; this version "
            "reads those of StyleGAN2-ADA, which project them"
        )
    unmapped_labels = 0 if outputs == 1 else outputs
    optional = ("mbstd_group", "downsampling")
    return {
        "architecture": architecture,
        "conv_clamp": _clamp(stored),
        **{key: stored[key] for key in optional if key in stored},
        "img_resolution": resolutions[-1],
        "img_channels": shapes[f"b{resolutions[-1]}.fromrgb.weight"][1],
        "channels": (width, *(shapes[f"b{size}.conv0.weight"][0] for size in resolutions[1:])),
        "c_dim": shapes["mapping.embed.weight"][1] if has_mapping else unmapped_labels,
        "mapping_layers": _count(shapes, r"mapping\.fc\d+\.weight"),
    }


def _resolutions(shapes: dict[str, tuple], prefix: str) -> list[int]:
    matches = (re.match(re.escape(prefix) + r"b(\d{1,6})\.", name) for name in shapes)
    resolutions = sorted({int(match[1]) for match in matches if match})
    if resolutions != [4 * 2**index for index in range(len(resolutions))]:
        raise Fault(f"has blocks of {resolutions} pixels; expected 4, 8, 16 and so on")
    return resolutions


def _count(shapes: dict[str, tuple], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in shapes)


def _clamp(stored: dict) -> float | None:
    """conv_clamp, from our configuration or from NVIDIA's nested one."""
    clamp = stored.get("synthesis_kwargs", stored).get("conv_clamp")
    if clamp is not None and type(clamp) not in (int, float):
        raise Fault(f"has the conv_clamp {printable(clamp)}; expected a number")
    return clamp
