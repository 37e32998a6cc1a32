"""The small landmark network, the choice between it and FAN, and files of labels."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from facsimile import checkpoints, data
from facsimile.data import fan
from facsimile.data.align import quad_to_photo
from facsimile.data.landmark_files import match_landmarks, read_landmarks
from facsimile.data.landmark_network import FILE, LandmarkConfig, LandmarkNetwork, load, save
from facsimile.data.landmarks import SmallLandmarker
from facsimile.data.points68 import mirror
from facsimile.metrics import nme
from facsimile.stylegan import files


def network(seed=0):
    torch.manual_seed(seed)
    made = LandmarkNetwork(LandmarkConfig(side=32, width=4, depth=1))
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return made.eval().requires_grad_(False)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache folder of torch, and no internet."""

    def offline(*_, **__):
        raise OSError("no internet")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    return tmp_path / "hub" / "checkpoints"


def test_images_do_not_influence_one_another():
    images = torch.rand(5, 3, 48, 48, dtype=torch.float64) * 2 - 1
    made = network().double()
    points, logits = made(images)
    assert points.shape == (5, 68, 2)
    assert logits.shape == (5,)
    alone = [made(image[None]) for image in images]
    assert (torch.cat([x for x, _ in alone]) - points).abs().max() < 1e-10
    assert (torch.cat([x for _, x in alone]) - logits).abs().max() < 1e-10


def test_pixels_are_those_of_the_image():
    """A larger copy of an image has the same points, scaled; light and contrast do not matter."""
    made = network().double()
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64) - 0.5
    points, _ = made(images)
    larger = images.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.allclose(made(larger)[0], 4 * points, atol=1e-9)
    assert torch.allclose(made(images + 0.3)[0], points, atol=1e-9)
    assert torch.equal(made(images[:, :1])[0], made(images[:, :1].expand(-1, 3, -1, -1))[0])


def test_differentiable_in_the_image():
    made = network().double()
    image = (torch.rand(1, 3, 32, 32, dtype=torch.float64) * 2 - 1).requires_grad_()
    toward = torch.randn_like(image)

    def value(x):
        points, logits = made(x)
        return points[0, 40].sum() + logits[0]

    (grad,) = torch.autograd.grad(value(image), image)
    with torch.no_grad():
        slope = (value(image + 1e-6 * toward) - value(image - 1e-6 * toward)) / 2e-6
    assert float((grad * toward).sum()) == pytest.approx(float(slope), rel=1e-4)


def test_there_and_back(tmp_path):
    """In float16: the numbers of the file are those of the network, rounded."""
    made = network()
    save(made, tmp_path / FILE)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    for path in (tmp_path, tmp_path / FILE):
        again = load(path)
        assert again.config == made.config
        rounded = made.state_dict()
        assert all(torch.equal(x, rounded[n].half().float()) for n, x in again.state_dict().items())
        assert (again(images)[0] - made(images)[0]).abs().max() < 0.5


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="crop them to squares"):
        network()(torch.zeros(1, 3, 32, 48))
    with pytest.raises(ValueError, match="multiple of 8"):
        LandmarkConfig(side=30)
    with pytest.raises(FileNotFoundError, match="expected a landmark network's file"):
        load(tmp_path / "none")
    with pytest.raises(ValueError, match="is not a landmark network"):
        load(checkpoints.registry.BUNDLED / "faces" / "generator.statistics.safetensors")


def test_versions_of_files(tmp_path):
    """Older files have no version; newer ones are refused."""
    save(network(), tmp_path / FILE)
    metadata, tensors = files.read_tensors(tmp_path / FILE)
    newer = int(metadata.pop("version")) + 1
    files.write_tensors(tmp_path / FILE, tensors, metadata)
    assert load(tmp_path).config == network().config
    files.write_tensors(tmp_path / FILE, tensors, metadata | {"version": str(newer)})
    sentence = f"written by a newer version of facsimile: its format has the version {newer}"
    with pytest.raises(ValueError, match=sentence):
        load(tmp_path)


def test_mirrored_images_have_mirrored_points(tmp_path):
    """As both are seen of each; and the points are the mean of what the network sees in them."""
    save(network(), tmp_path / FILE)
    small, plain = SmallLandmarker(tmp_path), load(tmp_path)
    images = torch.rand(3, 3, 48, 48) * 2 - 1
    seen, turned = small(images), small(images.flip(3))
    torch.testing.assert_close(turned.points, mirror(seen.points, 48), rtol=0, atol=1e-4)
    torch.testing.assert_close(turned.score, seen.score)
    one, other = plain(images)[0], mirror(plain(images.flip(3))[0], 48)
    assert (one - other).abs().max() > 0.1
    torch.testing.assert_close(seen.points, (one + other) / 2)
    with pytest.raises(ValueError, match=r"got images of shape \(3, 48, 48\)"):
        small(images[0])


# The bundled network ----------------------------------------------------------------------------


def test_bundled_network_knows_what_is_no_face(targets):
    """Noise, flat pictures, blobs and a room full of things are no faces."""
    from skimage import data as pictures  # declared for the demo's photo

    small = data.landmarker("small", small=checkpoints.LANDMARKS)
    noise = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1
    coffee = data.to_tensor(data.centre_square(Image.fromarray(pictures.coffee()), 128))[None]
    for images in (noise, torch.full((1, 3, 64, 64), 0.2), targets, coffee):
        assert not small(images).is_face.any()
    assert checkpoints.LANDMARKS.stat().st_size < 2_000_000


def test_bundled_network_finds_a_face():
    """The astronaut's, at any size of the picture; turned upside down it is none."""
    from skimage import data as pictures

    photo = Image.fromarray(pictures.astronaut())
    # Where MTCNN sees it, and the crop that follows: eyes, tip of the nose, corners of the mouth.
    seen = [(203.6, 100.9), (246.7, 103.5), (223.9, 129.4), (202.3, 139.4), (245.3, 142.3)]
    quad = data.ffhq_quad(*(np.array(seen[index]) for index in (0, 1, 3, 4)))
    small = data.landmarker("small", small=checkpoints.LANDMARKS)
    points = {}
    for side in (96, 192):
        image = data.to_tensor(data.crop_quad(photo, quad, side))[None]
        marks = small(image)
        assert marks.is_face.all()
        assert marks.score.item() > 0.9
        assert not small(image.flip(2)).is_face.any()
        to_photo = torch.from_numpy(quad_to_photo(quad, side)).float()
        points[side] = marks.points[0] @ to_photo[:2, :2].T + to_photo[:2, 2]
        turned = mirror(small(image.flip(3)).points, side)[0]
        assert nme(marks.points, turned[None]).item() < 0.05
    assert (points[96] - points[192]).norm(dim=1).mean() < 1
    parts = [(36, 42), (42, 48), (30, 31), (48, 49), (54, 55)]
    for (first, last), place in zip(parts, seen, strict=True):
        assert (points[192][first:last].mean(0) - torch.tensor(place)).norm() < 6


# FAN --------------------------------------------------------------------------------------------


def test_auto_is_small_without_fans_weights(hub):
    chosen = data.landmarker(small=checkpoints.LANDMARKS)
    assert chosen.name == "small"
    assert f"FAN's {fan.FILE} is not in {hub}" in chosen.note


def test_auto_is_small_where_fans_weights_are_damaged(hub, monkeypatch):
    def refuse(*_):
        raise ValueError("does not hold the weights")

    monkeypatch.setattr(fan, "is_installed", lambda: True)
    monkeypatch.setattr(fan, "load", refuse)
    hub.mkdir(parents=True, exist_ok=True)
    fan.default_file().write_bytes(b"PK")
    chosen = data.landmarker(small=checkpoints.LANDMARKS)
    assert chosen.name == "small"
    assert f"FAN's {fan.FILE} in {hub} is cut short or damaged; delete it" in chosen.note


def test_fans_weights_are_named(hub, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        data.landmarker("fan", small=checkpoints.LANDMARKS)
    for message in (fan.FILE, str(hub), "no internet", "or pass its path"):
        assert message in str(caught.value)
    with pytest.raises(FileNotFoundError, match="check the path"):
        data.landmarker("fan", small="", fan_weights=tmp_path / "none.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not hold the weights of 2DFAN-4"):
        data.landmarker("auto", small="", fan_weights=tmp_path / "other.pth")
    with pytest.raises(ValueError, match="expected one of auto, fan, small"):
        data.landmarker("dlib", small="")


def test_centres_of_heatmaps():
    """The middle of a Gaussian, wherever it lies between the cells; with a gradient."""
    centres = torch.tensor([[[20.3, 33.8], [5.0, 60.5]]], dtype=torch.float64)
    axis = torch.arange(64, dtype=torch.float64) + 0.5
    x, y = centres[..., 0, None, None], centres[..., 1, None, None]
    maps = torch.exp(-0.5 * ((axis - x).square() + (axis[:, None] - y).square()))
    maps.requires_grad_()
    points, peaks = fan.heatmap_centres(maps)
    assert (points - centres).abs().max() < 0.1
    assert ((peaks > 0.8) & (peaks <= 1)).all()
    points.sum().backward()
    assert maps.grad.abs().sum() > 0


def test_fan_sees_the_whole_image():
    """A stand-in whose heatmaps are the image's light: the point is where the dot is."""

    class Light(nn.Module):
        def forward(self, x):
            return [nn.functional.avg_pool2d(x[:, :1], 4).expand(-1, 68, -1, -1)]

    image = -torch.ones(1, 3, 100, 100)
    image[..., 30:34, 71:75] = 1.0
    points, score = fan.detect_landmarks(Light(), image)
    assert (points[0] - torch.tensor([73.0, 32.0])).abs().max() < 0.5
    assert score.item() > 0.9


# Labels -----------------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path):
    """A zip of three pictures; the second is not square."""
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as file:
        for index, size in enumerate([(32, 32), (64, 48), (32, 32)]):
            Image.new("RGB", size).save(tmp_path / "one.png")
            file.write(tmp_path / "one.png", f"{index}.png")
    return tmp_path / "faces.zip"


def labels(path, names, landmarks):
    np.savez(path, names=np.array(names), landmarks=landmarks)
    return path


def test_labels_follow_their_images(tmp_path, archive):
    """By name; cropped and resized as the images are."""
    points = np.full((2, 68, 2), 20.0, dtype=np.float32)
    path = labels(tmp_path / "labels.npz", ["2.png", "1.png"], points)
    subset, points = match_landmarks(data.load_images([archive], 16), path)
    assert [name for name in subset.names] == ["1.png", "2.png"]
    # 64 x 48: the crop begins at x = 8, and 48 pixels become 16.
    assert points[0, 0].tolist() == pytest.approx([4.0, 20 / 3])
    assert points[1, 0].tolist() == [10.0, 10.0]


@pytest.mark.parametrize(
    ("names", "shape", "message"),
    [
        (["0.png", "9.png"], (2, 68, 2), "1 images that are not there, such as 9.png"),
        (["0.png"], (1, 5, 2), r"landmarks of shape \(1, 5, 2\), expected an .npz"),
        (["0.png"], (2, 68, 2), r"names of shape \(1,\) and landmarks of shape \(2, 68, 2\)"),
        (["0.png", "0.png"], (2, 68, 2), "1 come twice"),
    ],
)
def test_wrong_labels(tmp_path, archive, names, shape, message):
    path = labels(tmp_path / "labels.npz", names, np.zeros(shape, dtype=np.float32))
    with pytest.raises(ValueError, match=message):
        match_landmarks(data.load_images([archive], 16), path)


def test_broken_labels(tmp_path):
    broken = np.zeros((2, 68, 2), dtype=np.float32)
    broken[1, 3, 0] = np.nan
    with pytest.raises(ValueError, match="not finite for 1 images, such as b.png"):
        read_landmarks(labels(tmp_path / "nan.npz", ["a.png", "b.png"], broken))
    with pytest.raises(FileNotFoundError, match="no such file; expected an .npz"):
        read_landmarks(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", points=broken)
    with pytest.raises(ValueError, match="expected an .npz with `names`"):
        read_landmarks(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match="expected an .npz with `names`"):
        read_landmarks(tmp_path / "text.npz")
    objects = np.array(["a.png"], dtype=object)
    np.savez(tmp_path / "objects.npz", names=objects, landmarks=broken[:1])
    with pytest.raises(ValueError, match="expected an .npz with `names`"):
        read_landmarks(tmp_path / "objects.npz")
