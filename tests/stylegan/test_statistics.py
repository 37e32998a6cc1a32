"""Oracles: torch.cov of the same samples; caches that are valid, stale, damaged or read-only."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from facsimile import stylegan
from facsimile.stylegan import files, statistics
from facsimile.stylegan.randomness import keyed_generator


@pytest.fixture
def home(tmp_path):
    """A second place for the cache."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def saved(make_generator, tmp_path):
    path = tmp_path / "networks" / "tiny.safetensors"
    path.parent.mkdir()
    stylegan.save(make_generator(8, 4, 8), path)
    return path


@pytest.fixture
def load(saved, home):
    """load() -> the saved generator, whose cache is beside its file or in the second place."""

    def run():
        generator = stylegan.load(saved)
        beside = saved.with_name("tiny.statistics.safetensors")
        generator.statistics_cache = (beside, home / "cache")
        return generator

    return run


@pytest.fixture
def computed(monkeypatch):
    """How often statistics were computed."""
    calls, compute = [], statistics.compute

    def count(generator):
        calls.append(generator.fingerprint)
        return compute(generator, samples=2000)

    monkeypatch.setattr(statistics, "compute", count)
    return calls


def same(a, b):
    return all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))


def test_moments_are_those_of_torch(make_generator):
    generator = make_generator(8, 4, 8)
    # More than one chunk of samples.
    got = statistics.compute(generator, samples=12_000, seed=3)
    rng = keyed_generator("cpu", 3, "statistics")
    z = torch.cat([torch.randn(n, 8, generator=rng) for n in (10_000, 2_000)])
    w = generator.mapping(z).double()
    p = torch.where(w > 0, w, 5 * w)

    def close(a, b):
        torch.testing.assert_close(a.double(), b, atol=1e-5, rtol=1e-4)

    close(got.w_mean, w.mean(0))
    close(got.w_covariance, torch.cov(w.T, correction=0))
    close(got.p_mean, p.mean(0))
    basis, std = got.p_basis.double(), got.p_std.double()
    close(basis @ torch.diag(std.square()) @ basis.T, torch.cov(p.T, correction=0))
    close(basis.T @ basis, torch.eye(8, dtype=torch.float64))
    assert (std.diff() <= 0).all()
    assert same(got, statistics.compute(generator, samples=12_000, seed=3))
    assert not same(got, statistics.compute(generator, samples=12_000, seed=4))


def test_labels_are_drawn(make_generator):
    generator = make_generator(8, 4, 8, c_dim=2)
    got = statistics.compute(generator, samples=20_000)
    z = torch.randn(20_000, 8)
    means = [generator.mapping(z, c.expand(len(z), -1)).mean(0) for c in torch.eye(2)]
    assert (means[0] - means[1]).abs().max() > 0.1
    torch.testing.assert_close(got.w_mean, (means[0] + means[1]) / 2, atol=0.03, rtol=0)


def test_gaussianize_undoes_the_activation():
    x = torch.randn(100)
    w = torch.nn.functional.leaky_relu(x, 0.2)
    torch.testing.assert_close(statistics.gaussianize(w), x)


def test_without_a_cache_nothing_is_written(saved, home, computed):
    generator = stylegan.load(saved)
    first = statistics.latent_statistics(generator)
    assert statistics.latent_statistics(generator) is first is generator.statistics
    assert len(computed) == 1
    assert list(saved.parent.iterdir()) == [saved]
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("name", ["here.safetensors", "a/folder/that.is.new"])
def test_a_cache_for_one_call(make_generator, tmp_path, computed, name):
    """A file, or a folder where the generator's fingerprint is the name."""
    generator = make_generator(8, 4, 8)
    first = statistics.latent_statistics(generator, tmp_path / name)
    path = tmp_path / name
    if path.suffix != ".safetensors":
        path = path / f"{generator.fingerprint}.statistics.safetensors"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    again = make_generator(8, 4, 8)
    assert same(statistics.latent_statistics(again, tmp_path / name), first)
    assert len(computed) == 1


def test_the_first_place_of_the_cache(load, saved, home, computed):
    first = statistics.latent_statistics(load())
    names = {p.name for p in saved.parent.iterdir()}
    assert names == {"tiny.safetensors", "tiny.statistics.safetensors"}
    assert list(home.iterdir()) == []
    assert same(statistics.latent_statistics(load()), first)
    assert len(computed) == 1


def test_dtype_follows_the_generator(load, computed):
    generator = load()
    single = statistics.latent_statistics(generator)
    double = statistics.latent_statistics(generator.double())
    assert double.w_mean.dtype == torch.float64
    torch.testing.assert_close(double.p_std.float(), single.p_std)
    assert len(computed) == 1


def test_the_cache_of_another_generator_is_replaced(load, saved, make_generator, computed):
    old = statistics.latent_statistics(load())
    other = make_generator(8, 4, 8, seed=1)
    stylegan.save(other, saved)
    new = statistics.latent_statistics(load())
    assert not same(new, old)
    assert same(new, statistics.compute(other))
    assert computed[1] == other.fingerprint != computed[0]
    assert same(statistics.latent_statistics(load()), new)
    assert len(computed) == 3  # one of them by this test


@pytest.mark.parametrize("content", [b"", b"no safetensors at all", b"\xff" * 64])
def test_a_damaged_cache_is_replaced(load, saved, computed, content):
    cache = saved.with_name("tiny.statistics.safetensors")
    cache.write_bytes(content)
    first = statistics.latent_statistics(load())
    assert len(computed) == 1
    assert same(statistics.latent_statistics(load()), first)
    assert len(computed) == 1


def test_a_cache_has_a_version(load, saved, computed):
    """A newer one is refused; one from before files had a version is read."""
    first = statistics.latent_statistics(load())
    cache = saved.with_name("tiny.statistics.safetensors")
    metadata, tensors = files.read_tensors(cache)
    assert metadata["version"] == "1"
    files.write_tensors(cache, tensors, {"fingerprint": metadata["fingerprint"]})
    assert same(statistics.latent_statistics(load()), first)
    files.write_tensors(cache, tensors, metadata | {"version": "2"})
    with pytest.raises(ValueError, match=r"statistics.* written by a newer version of facsimile"):
        statistics.latent_statistics(load())
    assert len(computed) == 1


def refuse(monkeypatch, *folders):
    """No file can be written to these folders, as on a read-only disk (root may do anything)."""
    write = Path.write_bytes

    def write_bytes(path, content):
        if any(folder in path.parents for folder in folders):
            raise OSError(30, "Read-only file system", str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


def test_the_second_place_if_the_first_cannot_be_written(load, saved, home, computed, monkeypatch):
    refuse(monkeypatch, saved.parent)
    generator = load()
    first = statistics.latent_statistics(generator)
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]
    cache = home / "cache" / f"{generator.fingerprint}.statistics.safetensors"
    assert [p for p in home.rglob("*") if p.is_file()] == [cache]
    assert same(statistics.latent_statistics(load()), first)
    assert len(computed) == 1


def test_nowhere_to_write(load, saved, home, computed, monkeypatch):
    refuse(monkeypatch, saved.parent, home)
    first = statistics.latent_statistics(load())
    assert same(statistics.latent_statistics(load()), first)
    assert len(computed) == 2
    assert [p for p in home.rglob("*") if p.is_file()] == []


def test_a_file_in_place_of_the_second_folder(load, saved, home, computed, monkeypatch):
    refuse(monkeypatch, saved.parent)
    (home / "cache").write_text("a file where a folder is expected")
    first = statistics.latent_statistics(load())
    assert (home / "cache").read_text() == "a file where a folder is expected"
    assert same(statistics.latent_statistics(load()), first)
    assert len(computed) == 2
