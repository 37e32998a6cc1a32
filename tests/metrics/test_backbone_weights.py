"""Where weights come from, and what is said when they cannot be had. Nothing is downloaded."""

import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch
from torch import nn

from facsimile.metrics import build_perceptual, lpips_distance, vgg16_layers
from facsimile.metrics.backbone_weights import MissingWeights, backbone_file, load_backbone


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache folder of torch, and no internet."""

    def offline(*_, **__):
        raise URLError("no internet")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize(
    ("build", "file"),
    [
        (lambda: lpips_distance("alex"), "alexnet-owt-7be5be79.pth"),
        (lambda: lpips_distance("vgg"), "vgg16-397923af.pth"),
        (lambda: lpips_distance("squeeze"), "squeezenet1_1-b8a52dc0.pth"),
        (vgg16_layers, "vgg16-397923af.pth"),
    ],
)
def test_offline_the_file_and_its_folder_are_named(hub, build, file):
    with pytest.raises(FileNotFoundError) as caught:
        build()
    message = str(caught.value)
    assert f"{file} is not on this machine and cannot be downloaded" in message
    assert "no internet" in message
    assert f"put the file into {hub}, or pass its path as weights" in message
    assert not hub.exists()


@pytest.mark.usefixtures("hub")
def test_the_note_of_a_fallback_is_short_and_has_the_remedy(monkeypatch):
    """In words of its own, without the address and the error; the cache is in the home folder."""
    home = torch.hub.get_dir()
    monkeypatch.setattr(Path, "home", lambda: Path(home).parent)
    discriminator = SimpleNamespace(features=list, img_resolution=32, img_channels=3)
    note = build_perceptual("auto", discriminator).note
    assert note.endswith(
        "vgg16-397923af.pth, are not here: put the file into ~/hub/checkpoints, or pass its path "
        "as weights"
    )
    assert "http" not in note
    assert len(note) < 200


@pytest.mark.parametrize("legacy", [False, True])
def test_a_download_that_was_cut_short_is_named(hub, tmp_path, legacy):
    whole = tmp_path / "whole.pth"
    backbone = nn.Sequential(nn.Conv2d(3, 64, 3))
    state = {f"features.{name}": x for name, x in backbone.state_dict().items()}
    torch.save(state, whole, _use_new_zipfile_serialization=not legacy)
    hub.mkdir(parents=True)
    cut = hub / "vgg16-397923af.pth"
    cut.write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(MissingWeights) as caught:
        load_backbone(backbone, cut)
    message = str(caught.value)
    assert f"{cut.name} in torch's cache is cut short or damaged (3,000 bytes)" in message
    assert f"delete {cut}, and it is downloaded again" in message
    assert (caught.value.name, caught.value.state) == (cut.name, "are cut short or damaged")
    # A file that a person names is not one to be deleted.
    (tmp_path / "own.pth").write_bytes(cut.read_bytes())
    with pytest.raises(ValueError, match=r"own\.pth, expected a state dict"):
        load_backbone(backbone, tmp_path / "own.pth")


def test_a_silent_server_is_given_up_on(hub, monkeypatch):
    monkeypatch.setattr("facsimile.metrics.backbone_weights.TIMEOUT", 0.05)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: nullcontext(time.sleep(0.5)))
    with pytest.raises(FileNotFoundError, match=r"no answer within 0.05 seconds"):
        backbone_file("AlexNet_Weights")


def test_the_download_is_hashed_and_kept(hub, monkeypatch):
    calls = []

    def download(url, path, hash_prefix):
        calls.append((url.rpartition("/")[2], hash_prefix))
        Path(path).write_bytes(b"weights")

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    path = hub / "alexnet-owt-7be5be79.pth"
    assert [backbone_file("AlexNet_Weights") for _ in range(2)] == [path, path]
    assert calls == [(path.name, "7be5be79")]


def test_a_wrong_hash_is_told(hub, monkeypatch):
    def download(*_):
        raise RuntimeError("invalid hash value")

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(FileNotFoundError, match="invalid hash value"):
        backbone_file("AlexNet_Weights")


def test_torchs_cache_is_used(hub):
    stack = nn.Sequential(nn.Conv2d(3, 64, 3))
    hub.mkdir(parents=True)
    torch.save(
        {f"features.{n}": t for n, t in stack.state_dict().items()}, hub / "vgg16-397923af.pth"
    )
    loaded = vgg16_layers(("conv1_1",)).network.slices[0][0]
    assert torch.equal(loaded.weight, stack[0].weight)


def test_a_given_file_that_does_not_exist(hub, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mine.pth, which does not exist; check the path"):
        lpips_distance("alex", tmp_path / "mine.pth")


def test_files_that_hold_something_else(tmp_path):
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3))
    path = tmp_path / "weights.pth"
    torch.save({"features.0.weight": torch.zeros(4, 3, 5, 5)}, path)
    with pytest.raises(
        ValueError, match=r"2 of 2 tensors.*shape \(4, 3, 3, 3\), which has the shape"
    ):
        load_backbone(backbone, path)
    torch.save({"conv.weight": torch.zeros(4, 3, 3, 3)}, path)
    with pytest.raises(ValueError, match=r"features.0.weight of shape .*which is missing; pass"):
        load_backbone(backbone, path)
    torch.save(backbone, path)
    with pytest.raises(ValueError, match="state dict that loads with weights_only=True"):
        load_backbone(backbone, path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="expected a dict of tensors"):
        load_backbone(backbone, path)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"not a safetensors file")
    with pytest.raises(ValueError, match="expected a safetensors file"):
        load_backbone(backbone, path)
