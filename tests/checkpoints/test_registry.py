"""The bundled networks and the ways to name a network."""

from pathlib import Path

import pytest
import torch

from facsimile import checkpoints, data, editing, encoders, metrics, stylegan
from facsimile.checkpoints.registry import BUNDLED
from facsimile.stylegan import Latents, statistics
from facsimile.stylegan.randomness import keyed_generator


def test_bundled_faces_draw_and_have_what_belongs_to_them():
    assert "faces" in checkpoints.names()
    found = checkpoints.find("faces")
    z = torch.randn(4, found.generator.z_dim, generator=torch.Generator().manual_seed(0))
    images = found.generator.synthesize(found.generator.map(z, truncation_psi=0.7))
    assert images.isfinite().all()
    assert 0.1 < images.std() < 1
    logits = found.discriminator(images.clamp(-1, 1))
    assert logits.shape == (4, 1)
    folder = BUNDLED / "faces"
    assert (folder / "README.md").read_text().count("Research use") == 1
    assert all((folder / f"{name}.png").is_file() for name in ("samples", "bootstrap"))


def test_bundled_statistics_are_those_of_the_generator():
    generator = checkpoints.find("faces").generator
    kept = statistics.latent_statistics(generator)
    path = BUNDLED / "faces" / "generator.statistics.safetensors"
    assert path.is_file()
    fresh = statistics.compute(generator, samples=20_000, seed=7)
    assert (
        kept.w_mean - fresh.w_mean
    ).abs().max() < 0.1 * kept.w_covariance.diagonal().sqrt().max()
    torch.testing.assert_close(kept.p_std[:5], fresh.p_std[:5], rtol=0.05, atol=0)


def test_bundled_difference_encoder_moves_faces():
    """Samples go towards one another's landmarks, as the card says half of the way; with their own
    they stay."""
    found = checkpoints.find("faces")
    generator, encoder = found.generator, found.encoders.get("difference").network
    small = data.landmarker("small", small=checkpoints.LANDMARKS)
    z = torch.randn(16, generator.z_dim, generator=keyed_generator("cpu", 0, "moved"))
    with torch.no_grad():
        code = generator.truncate(generator.broadcast_ws(generator.map(z)), 0.7)
        faces = Latents(space="w+", code=code, fingerprint=generator.fingerprint)
        points = small(faces.synthesize(generator).clamp(-1, 1)).points
        wanted = points.roll(1, 0)
        moved = editing.reenact_latents(encoder, generator, faces, wanted)
        seen = small(moved.synthesize(generator).clamp(-1, 1)).points
        stayed = editing.reenact_latents(encoder, generator, faces, points, source_landmarks=points)
    way = metrics.nme(wanted, points).mean()
    assert metrics.nme(wanted, seen).mean() < 0.6 * way
    torch.testing.assert_close(stayed.code, code)


def test_all_bundled_networks_stay_small():
    size = sum(path.stat().st_size for path in BUNDLED.rglob("*.safetensors"))
    assert size < 80e6


def test_by_folder_by_file_and_without_a_discriminator(tmp_path, make_generator):
    generator = make_generator(16)
    stylegan.save(generator, tmp_path / "generator.safetensors")
    by_folder = checkpoints.find(tmp_path)
    by_file = checkpoints.find(tmp_path / "generator.safetensors")
    assert by_folder.generator.fingerprint == by_file.generator.fingerprint == generator.fingerprint
    assert by_folder.discriminator is None


def test_errors_name_what_there_is(tmp_path, make_generator, make_discriminator):
    with pytest.raises(FileNotFoundError, match=r'no generator "cats".*\(faces'):
        checkpoints.find("cats")
    with pytest.raises(FileNotFoundError, match=r"generator\.safetensors does not exist"):
        checkpoints.find(tmp_path)
    stylegan.save(make_generator(16, img_channels=1), tmp_path / "generator.safetensors")
    stylegan.save(make_discriminator(16), tmp_path / "discriminator.safetensors")
    with pytest.raises(ValueError, match="3 channels"):
        checkpoints.find(tmp_path)


def test_where_statistics_are_cached(tmp_path, make_generator, monkeypatch):
    """Beside the file, or in the home folder if there is one."""
    path = tmp_path / "tiny.safetensors"
    stylegan.save(make_generator(8, 4, 8), path)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    generator = checkpoints.find(path).generator
    beside = tmp_path / "tiny.statistics.safetensors"
    assert generator.statistics_cache == (beside, tmp_path / "home" / ".cache" / "facsimile")
    statistics.latent_statistics(generator)
    assert beside.is_file()
    assert not (tmp_path / "home").exists()

    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert checkpoints.find(path).generator.statistics_cache == (beside,)
