"""Oracle: a damaged file loads, to plain values of the same shapes, or is a ValueError."""

import random

import numpy as np
import payloads
import pytest
import torch

import stylegan
from stylegan import files

TIMES = 2000
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


def attempt(read, path):
    """What `read` makes of the file; None where it is refused by its name."""
    try:
        return read(path)
    except ValueError as error:
        message = str(error)
    assert message.startswith(str(path))
    return None


def shapes(tree):
    """Shapes of all arrays; reads every one of their numbers, and fails on what is not plain."""
    if isinstance(tree, files.Network):
        return shapes(tree.state)
    if isinstance(tree, dict):
        return [shape for value in tree.values() for shape in shapes(value)]
    if isinstance(tree, list | tuple):
        return [shape for value in tree for shape in shapes(value)]
    if isinstance(tree, torch.Tensor | np.ndarray):
        assert tree.reshape(-1).sum() is not None
        return [tuple(tree.shape)]
    assert isinstance(tree, PLAIN), type(tree)
    return []


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
@pytest.mark.parametrize("form", VALID)
def test_damaged_containers(tmp_path, form):
    path, source = tmp_path / "network.pkl", random.Random(form)
    path.write_bytes(VALID[form])
    whole, refused = shapes(files.contents(path)), 0
    size = sum(len(VALID[form]) for _ in whole)
    for _ in range(TIMES):
        path.write_bytes(damaged(VALID[form], source))
        found = attempt(lambda path: shapes(files.contents(path)), path)
        refused += found is None
        assert sum(int(np.prod(shape)) for shape in found or []) < size
    assert 0 < refused < TIMES


def test_damaged_networks(make_generator, tmp_path):
    generator = make_generator(8, 4, 4)
    path, source = tmp_path / "network.safetensors", random.Random("safetensors")
    stylegan.save(generator, path)
    whole, refused = path.read_bytes(), 0
    sizes = {name: x.shape for name, x in generator.state_dict().items()}
    header = 8 + int.from_bytes(whole[:8], "little")
    for index in range(TIMES):
        # Every second damage is in the header.
        part = header if index % 2 else len(whole)
        path.write_bytes(damaged(whole[:part], source) + whole[part:])
        found = attempt(stylegan.load, path)
        refused += found is None
        if found is not None:
            assert {name: x.shape for name, x in found.state_dict().items()} == sizes
    assert 0 < refused < TIMES
