"""FaceNet of random weights: what it compares, and what it says without weights."""

import pytest
import torch

from facsimile.metrics import FaceNet, build_identity
from facsimile.metrics.facenet import FILE


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    inception = pytest.importorskip("facenet_pytorch").InceptionResnetV1
    torch.manual_seed(0)
    state = inception(pretrained=None, classify=False).state_dict()
    state["logits.weight"] = torch.zeros(3, 3)  # the published file has such
    path = tmp_path_factory.mktemp("weights") / "facenet.pt"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def identity(weights):
    return FaceNet(weights)


def pictures(count, side=64):
    return torch.rand(count, 3, side, side) * 2 - 1


def test_same_and_other(identity):
    images = pictures(2)
    same, mirrored = identity.csim(images, images), identity.csim(images, images.flip(3))
    assert same.tolist() == pytest.approx([1, 1], abs=1e-5)
    assert (mirrored < 1 - 1e-6).all()
    assert torch.allclose(mirrored[1:], identity.csim(images[1:], images[1:].flip(3)), atol=1e-5)


def test_whole_pictures_have_a_border(identity, monkeypatch):
    seen = []
    monkeypatch.setattr(identity, "_run", lambda x: seen.append(x) or x.flatten(1)[:, :8])
    identity.embed_whole(pictures(1, 256))
    (shown,) = seen
    assert shown.shape == (1, 3, 150, 150)
    assert shown[..., :11, :].abs().max() == shown[..., :, -11:].abs().max() == 0
    assert shown[..., 11:-11, 11:-11].abs().min(1).values.max() > 0


def test_one_interface(weights):
    """As dlib's network: a fixed crop of the aligned face, distances of unit vectors."""
    network = build_identity("facenet", weights)
    images = pictures(2)
    embeddings = network.embed(images)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))
    # The crop has the face, and neither the hair above it nor the corners.
    outside = images.clone()
    outside[..., :8, :] = 1.0
    outside[..., :9] = -1.0
    torch.testing.assert_close(network.embed(outside), embeddings)
    other = images.clone()
    other[..., 30:40, 30:40] = 1.0
    distance = network.distance(images, other)
    torch.testing.assert_close(distance, (network.embed(other) - embeddings).norm(dim=1))
    assert (distance > 0).all()
    assert torch.equal(network.same_person(images, other), distance < 1.242**0.5)


def test_only_the_box_counts(identity):
    a = pictures(1)
    b = a.clone()
    b[..., :20] = 1.0
    box = torch.tensor([[20.0, 0.0, 64.0, 64.0]])
    assert identity.similarity(a, b, box).item() == pytest.approx(1, abs=1e-5)
    assert identity.similarity(a, b, box - 5).item() < 1 - 1e-6


def test_gradient_reaches_the_image(identity):
    a, b = pictures(1).requires_grad_(), pictures(1)
    identity.csim(a, b).sum().backward()
    assert a.grad.isfinite().all()
    assert a.grad.abs().sum() > 0


def test_refusals(identity, weights, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="one shape"):
        identity.csim(pictures(1), pictures(2))
    with pytest.raises(ValueError, match=r"\(3, 4\) or \(1, 4\)"):
        identity.embed_boxes(pictures(3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="outside of the image of 64x64"):
        identity.embed_boxes(pictures(1), torch.tensor([[70.0, 0.0, 90.0, 20.0]]))
    with pytest.raises(FileNotFoundError, match="check the path"):
        FaceNet(tmp_path / "none.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=f"does not hold InceptionResnetV1.*expected {FILE}"):
        FaceNet(tmp_path / "other.pt")

    def offline(*_, **__):
        raise OSError("no internet")

    module = pytest.importorskip("facenet_pytorch.models.inception_resnet_v1")
    monkeypatch.setattr(module, "get_torch_home", lambda: str(tmp_path))
    monkeypatch.setattr(module, "download_url_to_file", offline)
    with pytest.raises(FileNotFoundError) as caught:
        FaceNet()
    for said in (FILE, str(tmp_path / "checkpoints"), "no internet", "pass its path"):
        assert said in str(caught.value)
