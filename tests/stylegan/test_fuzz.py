"""Oracle: a damaged file loads, to plain values of the same shapes, or is a ValueError."""

import itertools
import random

import containers
import numpy as np
import payloads
import pytest
import tensorflow_files
import torch

from facsimile import stylegan
from facsimile.stylegan import files

pytestmark = pytest.mark.slow

TIMES = 150
FEWER_TIMES = 20
PLAIN = (str, int, float, bool, type(None), memoryview, bytearray, np.generic)
VALID = payloads.networks()


def damaged(content, source):
    """The content cut short, or with up to four bits or bytes changed."""
    if source.random() < 0.2:
        return content[: source.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(source.randint(1, 4)):
        place = source.randrange(len(changed))
        flipped = changed[place] ^ (1 << source.randrange(8))
        changed[place] = flipped if source.random() < 0.5 else source.randrange(256)
    return bytes(changed)


def read_or_refuse(read, path):
    """The result of `read`; None if it refuses the file in a message that begins with its name."""
    try:
        return read(path)
    except ValueError as error:
        message = str(error)
    assert message.startswith(str(path))
    return None


def checked_shapes(tree):
    """Shapes of all arrays; reads every one of their numbers, and fails on what is not plain."""
    if isinstance(tree, files.Network):
        return checked_shapes(tree.state)
    if isinstance(tree, dict):
        return [shape for value in tree.values() for shape in checked_shapes(value)]
    if isinstance(tree, list | tuple):
        return [shape for value in tree for shape in checked_shapes(value)]
    if isinstance(tree, torch.Tensor | np.ndarray):
        assert tree.reshape(-1).sum() is not None
        return [tuple(tree.shape)]
    assert isinstance(tree, PLAIN), type(tree)
    return []


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
@pytest.mark.parametrize(
    ("form", "times"),
    [("zip", TIMES), ("legacy", TIMES), ("pickle 4", TIMES)]
    + [(f"pickle {protocol}", TIMES // 5) for protocol in (0, 2, 5)],
)
def test_damaged_containers(tmp_path, form, times):
    path, source = tmp_path / "network.pkl", random.Random(form)
    path.write_bytes(VALID[form])
    whole, refused = checked_shapes(files.contents(path)), 0
    size = sum(len(VALID[form]) for _ in whole)
    for _ in range(times):
        path.write_bytes(damaged(VALID[form], source))
        result = read_or_refuse(lambda path: checked_shapes(files.contents(path)), path)
        refused += result is None
        assert sum(int(np.prod(shape)) for shape in result or []) < size
    assert 0 < refused < times


def write_tiny(network, path, monkeypatch):
    """A generator of 8 pixels in NVIDIA's pickle."""
    config = {k: network.config[k] for k in ("z_dim", "c_dim", "w_dim", "img_resolution")}
    monkeypatch.setattr(containers, "golden", lambda _: (config, network.state_dict(), {}))
    containers.write_nvidia(path)


WRITERS = {
    "nvidia": containers.write_nvidia,
    "tensorflow": tensorflow_files.write_tensorflow,
    "rosinality": containers.write_rosinality,
    "rosinality, trained": lambda path: containers.write_rosinality(path, trained=True),
    "rosinality, legacy": lambda path: containers.write_rosinality(path, legacy=True),
    "genforce": containers.write_genforce,
    "genforce, legacy": lambda path: containers.write_genforce(path, legacy=True),
    "genforce, stylegan1": lambda path: containers.write_genforce(
        path, "stylegan1_genforce_generator"
    ),
    "idinvert": containers.write_idinvert,
}


def structure(content):
    """Where the longest run of bytes lies that hold no tensors, in 4 KB steps: (begin, end)."""
    size = 4096
    texts = [len(set(content[i : i + size])) < 160 for i in range(0, len(content), size)]
    runs = [list(run) for _, run in itertools.groupby(range(len(texts)), lambda i: texts[i])]
    runs = [run for run in runs if texts[run[0]]] or [[0]]
    longest = max(runs, key=len)
    return longest[0] * size, (longest[-1] + 1) * size


def check_damaged_files(path, times, source):
    """Loads the file with `times` damages, half of them where names and shapes are."""
    whole, network = path.read_bytes(), stylegan.load(path)
    sizes = {name: x.shape for name, x in network.state_dict().items()}
    begin, end = structure(whole)
    refused = 0
    for index in range(times):
        first, last = (begin, end) if index % 2 else (0, len(whole))
        path.write_bytes(whole[:first] + damaged(whole[first:last], source) + whole[last:])
        result = read_or_refuse(stylegan.load, path)
        refused += result is None
        if result is not None:
            assert {name: x.shape for name, x in result.state_dict().items()} == sizes
    assert 0 < refused < times


@pytest.mark.parametrize("form", ["native", "nvidia"])
def test_damaged_networks(make_generator, tmp_path, form, monkeypatch):
    generator, path = make_generator(8, 4, 4), tmp_path / "network"
    if form == "native":
        stylegan.save(generator, path)
    else:
        write_tiny(generator, path, monkeypatch)
    check_damaged_files(path, TIMES, random.Random(form))


@pytest.mark.parametrize("form", WRITERS)
def test_damaged_foreign_networks(tmp_path, form):
    """Fewer: these are larger."""
    path = tmp_path / "network"
    WRITERS[form](path)
    check_damaged_files(path, FEWER_TIMES, random.Random(form))
