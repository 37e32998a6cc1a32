"""Oracle: numpy and torch, which write and read the files; the pictures of the same ws."""

import io
import zipfile

import numpy as np
import pytest
import torch

from facsimile.stylegan import Latents, init_latents
from facsimile.stylegan.files import codes
from facsimile.stylegan.foreign_codes import in_space, read_latents


@pytest.fixture(scope="module")
def generator(make_generator):
    return make_generator(32, 8, 16)


@pytest.fixture(scope="module")
def ws(generator):
    """(1, L, D)"""
    source = torch.Generator().manual_seed(0)
    return torch.randn(1, generator.num_ws, generator.w_dim, generator=source)


def save_npz(path, save=np.savez, **arrays):
    with path.open("wb") as file:  # numpy would add an extension to a name
        save(file, **arrays)


def save_npy(path, array):
    with path.open("wb") as file:
        np.save(file, array)


WRITERS = {  # as these programs write them: path, ws (1, L, D)
    "NVIDIA's projector": lambda path, ws: save_npz(path, w=ws.numpy()),
    "an .npz of another key": lambda path, ws: save_npz(path, projected=ws.numpy()),
    "a packed .npz with more": lambda path, ws: save_npz(
        path, np.savez_compressed, z=-ws.numpy(), w=ws.numpy()
    ),
    "without the images": lambda path, ws: save_npz(path, w=ws[0].numpy()),
    "float64 by columns": lambda path, ws: save_npy(
        path, np.asfortranarray(ws[0].double().numpy())
    ),
    "a plain array": lambda path, ws: save_npy(path, ws.numpy()),
    "e4e": lambda path, ws: torch.save(ws, path),
    "PTI": lambda path, ws: torch.save(torch.nn.Parameter(ws), path),
    "pSp": lambda path, ws: torch.save({"latent": ws[0]}, path),
    "a list": lambda path, ws: torch.save([ws[0]], path),
    "before PyTorch 1.6": lambda path, ws: torch.save(
        ws, path, _use_new_zipfile_serialization=False
    ),
    "rosinality's projector": lambda path, ws: torch.save(
        {"me.png": {"img": torch.zeros(3, 4, 4), "latent": ws[0], "noise": [torch.zeros(1)]}}, path
    ),
    "by the photo's name": lambda path, ws: torch.save({"me.png": ws[0]}, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_codes_of_every_program(tmp_path, generator, ws, name):
    path = tmp_path / "codes.any"
    WRITERS[name](path, ws)
    latents = read_latents(path, generator)
    assert latents.space == "w+"
    assert torch.equal(latents.code, ws)
    assert latents.fingerprint == generator.fingerprint


def test_shapes(tmp_path, generator):
    inputs, w_dim = generator.num_ws, generator.w_dim
    for shape, space, count in (
        ((w_dim,), "w", 1),
        ((1, w_dim), "w", 1),
        ((3, w_dim), "w", 3),
        ((3, 1, w_dim), "w", 3),
        ((inputs, w_dim), "w+", 1),
        ((1, inputs, w_dim), "w+", 1),
        ((5, inputs, w_dim), "w+", 5),
    ):
        torch.save(torch.rand(shape), tmp_path / "x.pt")
        latents = read_latents(tmp_path / "x.pt", generator)
        assert (latents.space, len(latents)) == (space, count), shape
        assert latents.synthesize(generator).shape == (count, 3, 32, 32)
    for shape in ((w_dim + 1,), (1, inputs + 1, w_dim), (1, inputs, w_dim + 1)):
        torch.save(torch.rand(shape), tmp_path / "x.pt")
        with pytest.raises(ValueError, match=f"this generator has {inputs} style inputs of 16"):
            read_latents(tmp_path / "x.pt", generator)


@pytest.mark.parametrize("form", codes.FORMATS)
def test_what_is_written_is_what_was_read(tmp_path, generator, ws, form):
    path = tmp_path / f"x.{form}"
    codes.write(path, ws, form, generator.fingerprint)
    if form == "pt":
        assert torch.equal(torch.load(path, weights_only=True), ws)
    else:
        loaded = np.load(path)
        assert np.array_equal(loaded["w"] if form == "npz" else loaded, ws.numpy())
    assert torch.equal(read_latents(path, generator).code, ws)
    assert codes.read(path).fingerprint == (generator.fingerprint if form == "npz" else None)
    assert [x.name for x in tmp_path.iterdir()] == [path.name]


def test_codes_of_another_generator_are_refused(tmp_path, generator, ws):
    codes.write(tmp_path / "x.npz", ws, "npz", "0123456789abcdef")
    with pytest.raises(ValueError, match="codes of the generator 0123456789abcdef, and this one"):
        read_latents(tmp_path / "x.npz", generator)


def test_our_own_latents_are_read_too(tmp_path, generator, ws):
    latents = Latents(space="w+", code=ws, fingerprint=generator.fingerprint)
    latents.save(tmp_path / "latents.safetensors")
    assert torch.equal(read_latents(tmp_path / "latents.safetensors", generator).code, ws)


def npy(shape, descr="<f4", data=b""):
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + data


def npz(content, name="w.npy"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy((2**20, 2**20)), "made to deceive"),
        (npy((-4,)), "made to deceive|the header of an array"),
        (npy((4,), "|O", b"\x80\4N."), "Python objects in an array"),
        (npy((4,), "<i4", bytes(16)), "an array of int32, and not of real numbers"),
        (npy((4,), "<f4", bytes(15)), "made to deceive|cut short"),
        (npy((2, 2, 2, 2), "<f4", bytes(64)), r"shape \(2, 2, 2, 2\)"),
        (npy((0, 16)), r"shape \(0, 16\)"),
        (npy((1,), "<f4", np.float32(np.nan).tobytes()), "are not finite"),
        (b"\x93NUMPY\1\0\xff\xff{", "the header of an array"),
        (b"\x93NUMPY\7\0", "the header of an array"),
        (npz(npy((4,), "|O", b"\x80\4N.")), "Python objects in an array"),
        (npz(npy((2**20, 2**20))), "made to deceive"),
        (npz(npy((2,), "<f4", bytes(8)))[:-30], "cut short|is damaged"),
        (npz(b"x", "w.txt"), "not one that torch.save wrote"),
        (b"\x89PNG\r\n\x1a\n", r"or of latent codes \(.safetensors, .npz, .pt, .npy\)"),
        (b"", "is empty"),
    ],
)
def test_other_files_are_named(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        codes.read(tmp_path / "x")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": 1}, "holds a dict with the keys a, and no latent codes"),
        (torch.zeros(3, dtype=torch.int64), r"shape \(3,\) and type int64"),
        ([torch.zeros(3), torch.zeros(4)], "codes of different shapes"),
        ([1, 2], "not one of codes"),
        ({"a": torch.zeros(3, 4), "b": torch.zeros(4)}, "no latent codes"),
    ],
)
def test_other_trees_are_named(tmp_path, tree, message):
    torch.save(tree, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=message):
        codes.read(tmp_path / "x.pt")


# Into another space -------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["w+", "s", "f/w+", "f/s", "f/p_n+", "p_n+"])
def test_every_space_that_holds_it_gives_the_same_picture(generator, ws, space):
    latents = Latents(space="w+", code=ws, fingerprint=generator.fingerprint)
    moved = in_space(latents, generator, space, None)
    assert moved.space == space
    torch.testing.assert_close(
        moved.synthesize(generator), latents.synthesize(generator), atol=2e-3, rtol=0
    )


def test_one_code_for_all_inputs_is_the_mean(generator, ws):
    latents = Latents(space="w+", code=ws, fingerprint=generator.fingerprint)
    torch.testing.assert_close(in_space(latents, generator, "w", None).code, ws.mean(1))


def test_a_feature_is_kept_at_its_layer(generator):
    start = init_latents(generator, "f/w+", 1, layer="b8.conv0")
    latents = start.with_tensors({**start.tensors(), "feature": start.feature + 1})
    kept = in_space(latents, generator, "f/s", "b8.conv0")
    assert torch.equal(kept.feature, latents.feature)
    other = in_space(latents, generator, "f/s", "b8.conv1")
    assert other.layer == "b8.conv1"
    assert in_space(latents, generator, "f/w+", "b8.conv0") is latents


def test_spaces_of_z_need_an_inverse(generator, ws):
    latents = Latents(space="w+", code=ws, fingerprint=generator.fingerprint)
    with pytest.raises(ValueError, match='"z\\+" cannot hold a different w'):
        in_space(latents, generator, "z+", None)
    moved = in_space(latents, generator, "z+", None, to_z=lambda ws, label: ws.flip(1))
    assert torch.equal(moved.code, ws.flip(1))
