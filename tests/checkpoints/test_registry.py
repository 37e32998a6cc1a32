"""The bundled networks and the ways to name a network."""

from pathlib import Path

import pytest
import torch

from facsimile import checkpoints, data, editing, encoders, metrics, stylegan
from facsimile.checkpoints.registry import BUNDLED
from facsimile.stylegan import Latents, statistics
from facsimile.stylegan.randomness import keyed_generator


def test_bundled_faces():
    """A generator of varied images, and a discriminator that tells them apart."""
    assert "faces" in checkpoints.names()
    networks = checkpoints.find("faces")
    z = torch.randn(4, networks.generator.z_dim, generator=torch.Generator().manual_seed(0))
    images = networks.generator.synthesize(networks.generator.map(z, truncation_psi=0.7))
    assert images.isfinite().all()
    assert 0.1 < images.std() < 1
    logits = networks.discriminator(images.clamp(-1, 1))
    assert logits.shape == (4, 1)
    assert logits.std() > 0.1


def test_former_faces_can_be_had():
    """Latents of a network that was bundled before are refused with the way to get it."""
    generator = checkpoints.find("faces").generator
    assert len(generator.predecessors) == 3
    code = torch.zeros(1, generator.num_ws, generator.w_dim)
    for fingerprint, command in generator.predecessors.items():
        latents = Latents(space="w+", code=code, fingerprint=fingerprint)
        with pytest.raises(ValueError, match=r"git show \w+:checkpoints/") as refusal:
            latents.check(generator)
        assert command in str(refusal.value)


def test_bundled_statistics():
    """Those of the file agree with those of other samples."""
    generator = checkpoints.find("faces").generator
    assert (BUNDLED / "faces" / "generator.statistics.safetensors").is_file()
    bundled = statistics.latent_statistics(generator)
    computed = statistics.compute(generator, samples=20_000, seed=7)
    deviation = bundled.w_covariance.diagonal().sqrt().max()
    assert (bundled.w_mean - computed.w_mean).abs().max() < 0.1 * deviation
    torch.testing.assert_close(bundled.p_std[:5], computed.p_std[:5], rtol=0.05, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["feature", "in-domain"])
def test_bundled_encoders_reconstruct_samples(kind):
    """The error is below a fifth of that of the mean face."""
    networks = checkpoints.find("faces")
    generator, encoder = networks.generator, networks.encoders.get(kind).network
    z = torch.randn(2, generator.z_dim, generator=keyed_generator("cpu", 0, "samples"))
    with torch.no_grad():
        images = generator.synthesize(generator.map(z, truncation_psi=0.7)).clamp(-1, 1)
        latents = encoders.encode(encoder, generator, images)
        error = metrics.mse(latents.synthesize(generator), images).mean()
        mean = stylegan.init_latents(generator, "w+", 2, init="mean").synthesize(generator)
    assert error < 0.2 * metrics.mse(mean, images).mean()


def test_bundled_difference_encoder():
    """Samples take on one another's landmarks, about half of the way, as the card says; with their
    own they stay."""
    networks = checkpoints.find("faces")
    generator, encoder = networks.generator, networks.encoders.get("difference").network
    small = data.landmarker("small", small=checkpoints.LANDMARKS)
    z = torch.randn(16, generator.z_dim, generator=keyed_generator("cpu", 0, "moved"))
    with torch.no_grad():
        code = generator.truncate(generator.broadcast_ws(generator.map(z)), 0.7)
        faces = Latents(space="w+", code=code, fingerprint=generator.fingerprint)
        landmarks = small(faces.synthesize(generator).clamp(-1, 1)).points
        targets = landmarks.roll(1, 0)
        latents = editing.reenact_latents(encoder, generator, faces, targets)
        detected = small(latents.synthesize(generator).clamp(-1, 1)).points
        unchanged = editing.reenact_latents(
            encoder, generator, faces, landmarks, source_landmarks=landmarks
        )
    before = metrics.nme(targets, landmarks).mean()
    assert metrics.nme(targets, detected).mean() < 0.6 * before
    torch.testing.assert_close(unchanged.code, code)


def test_the_bundle_stays_small():
    """A wheel must stay below 100 MB, the usual limit of a package index."""
    size = sum(path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file())
    assert size < 95e6


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
