"""Writers of NVIDIA's TensorFlow files, and the golden networks under TensorFlow's names."""

import math
import pickle

import torch
from containers import SOURCE, golden, originals


class Network:
    """Of dnnlib.tflib.network: what its `__getstate__` gives is what a file holds."""

    def __init__(self, name, variables, settings, components=()):
        self.state = {
            "version": 4,
            "name": name,
            "static_kwargs": settings,
            "components": dict(components),
            "build_module_src": SOURCE,
            "build_func_name": "G_main",
            "variables": [(k, x.numpy().copy()) for k, x in variables.items()],
        }

    def __getstate__(self):
        return self.state


def write_tensorflow(
    path, variables=None, discriminator=None, *, protocol=4, settings=None, only=None
):
    """A .pkl of (G, D, Gs). variables: those of Gs; default: the golden StyleGAN2's.

    discriminator: variables of D. settings: more static_kwargs. only: a single one of the three.
    """
    kwargs, known, _ = golden("stylegan2_tensorflow_variables")
    kwargs |= settings or {}
    variables = known if variables is None else variables
    zeros = {name: torch.zeros_like(x) for name, x in variables.items()}
    three = (
        tensorflow_network("G", zeros, kwargs),
        Network("D", discriminator or {}, kwargs),
        tensorflow_network("Gs", variables, kwargs),
    )
    with originals({"dnnlib.tflib.network": Network}), open(path, "wb") as file:
        pickle.dump(three if only is None else three[only], file, protocol=protocol)


def tensorflow_network(name, variables, settings):
    components = {}
    for part in ("mapping", "synthesis"):
        tensors = {k.partition("/")[2]: x for k, x in variables.items() if k.startswith(f"{part}/")}
        components[part] = Network(f"G_{part}", tensors, settings)
    tensors = {k: x for k, x in variables.items() if k == "dlatent_avg"} | {"lod": torch.zeros([])}
    return Network(name, tensors, settings, components)


def tensorflow_stylegan1(name="stylegan1_genforce_generator"):
    """TensorFlow's variables of the golden StyleGAN1."""
    _, state, _ = golden(name)
    variables = {"dlatent_avg": state["truncation.w_avg"]}
    tails = {"bias": "bias", "apply_noise.weight": "Noise/weight", "style.bias": "StyleMod/bias"}
    last = max(int(k.split(".")[1][6:]) for k in state if ".output" in k)
    for key, x in state.items():
        part, module, tail = (*key.split(".", 2), "")[:3]
        if part == "mapping":
            layer = f"mapping/Dense{module[5:]}/{tail}"
            variables[layer] = x.T.contiguous() if tail == "weight" else x
        elif module.startswith("output"):
            theirs = f"synthesis/ToRGB_lod{last - int(module[6:])}/{tail}"
            variables[theirs] = x.permute(2, 3, 1, 0).contiguous() if tail == "weight" else x
        elif module.startswith("layer"):
            index = int(module[5:])
            side = 4 * 2 ** (index // 2)
            scope = ("Conv0_up", "Conv1") if index > 1 else ("Const", "Conv")
            scope = f"synthesis/{side}x{side}/{scope[index % 2]}"
            if tail == "const":
                variables[f"{scope}/const"] = x
            elif tail == "apply_noise.noise":
                variables[f"synthesis/noise{index}"] = x
            elif tail == "weight":
                variables[f"{scope}/weight"] = x.permute(2, 3, 1, 0).contiguous()
            elif tail == "style.weight":
                variables[f"{scope}/StyleMod/weight"] = x.T.contiguous()
            elif tail in tails:
                variables[f"{scope}/{tails[tail]}"] = x
    return variables


def tensorflow_discriminator(name="stylegan2_discriminator"):
    """TensorFlow's variables of a golden StyleGAN2 discriminator."""
    _, state, _ = golden(name)
    largest = max(int(k[1:].split(".")[0]) for k in state if k[0] == "b")
    scopes = {"fromrgb": f"{largest}x{largest}/FromRGB", "b4.conv": "4x4/Conv"}
    scopes |= {"b4.fc": "4x4/Dense0", "b4.out": "Output"}
    variables = {}
    for key, x in state.items():
        module, _, tail = key.rpartition(".")
        block, _, layer = module.partition(".")
        side = f"{block[1:]}x{block[1:]}"
        blocks = {"conv0": "Conv0", "conv1": "Conv1_down", "skip": "Skip"}
        scope = scopes.get(module) or scopes.get(layer) or f"{side}/{blocks.get(layer)}"
        if tail == "weight":
            x = x.permute(2, 3, 1, 0).contiguous() if x.ndim == 4 else x.T.contiguous()
        if tail != "resample_filter":
            variables[f"{scope}/{tail}"] = x
    return variables


def tensorflow_stylegan1_discriminator(side=32, width=8):
    """Variables of StyleGAN1's discriminator, of random numbers."""
    source = torch.Generator().manual_seed(7)
    shapes = {"4x4/Conv": (3, 3, width + 1, width), "4x4/Dense0": (width * 16, width)}
    shapes["4x4/Dense1"] = (width, 1)
    for index in range(int(math.log2(side)) - 1):
        shapes[f"FromRGB_lod{index}"] = (1, 1, 3, width)
        r = side // 2**index
        if r > 4:
            shapes[f"{r}x{r}/Conv0"] = shapes[f"{r}x{r}/Conv1_down"] = (3, 3, width, width)
    variables = {"lod": torch.zeros([])}
    for scope, shape in shapes.items():
        variables[f"{scope}/weight"] = torch.randn(shape, generator=source)
        variables[f"{scope}/bias"] = torch.randn(shape[-1], generator=source)
    return variables
