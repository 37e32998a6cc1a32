"""Latents to other programs and back. Oracles: the files' own readers, numpy and torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from facsimile import checkpoints
from facsimile.commands.convert import Convert, holds_codes
from facsimile.commands.info import Info, describe
from facsimile.stylegan import Latents, init_latents


@pytest.fixture(scope="module")
def generator(network):
    return checkpoints.find(str(network)).generator


@pytest.fixture(scope="module")
def latents(generator):
    source = torch.Generator().manual_seed(2)
    code = torch.randn(2, generator.num_ws, generator.w_dim, generator=source)
    return Latents(space="w+", code=code, fingerprint=generator.fingerprint)


def convert(network, file, out, **options):
    return Convert(file=file, out=out, generator=str(network), **options).run()


def test_there_and_back(tmp_path, network, generator, latents, capsys):
    start = tmp_path / "latents.safetensors"
    latents.save(start)
    for form in ("npz", "pt", "npy"):
        there, back = tmp_path / f"x.{form}", tmp_path / f"{form}.safetensors"
        assert convert(network, start, there, to=form) == 0
        assert holds_codes(there)
        assert convert(network, there, back) == 0
        assert torch.equal(Latents.load(back, generator).code, latents.code)
        assert f"{back}\nkind" in capsys.readouterr().out
    assert np.array_equal(np.load(tmp_path / "x.npz")["w"], latents.code)
    assert np.array_equal(np.load(tmp_path / "x.npy"), latents.code)
    assert torch.equal(torch.load(tmp_path / "x.pt", weights_only=True), latents.code)
    assert convert(network, tmp_path / "x.pt", tmp_path / "y.npz") == 0  # by the name alone
    assert np.array_equal(np.load(tmp_path / "y.npz")["w"], latents.code)


def test_what_other_programs_have_no_place_for_is_said(tmp_path, network, generator, capsys):
    latents = init_latents(generator, "f/w+", 1)
    replace(latents, noise=(torch.zeros(1, 1, 4, 4),)).save(tmp_path / "latents.safetensors")
    convert(network, tmp_path / "latents.safetensors", tmp_path / "x.npy")
    said = capsys.readouterr().out
    assert "other programs have no place for the feature and the noise of" in said
    assert np.array_equal(np.load(tmp_path / "x.npy"), latents.to_w_plus(generator))


def test_styles_and_strangers_are_refused(tmp_path, network, generator, latents):
    path = tmp_path / "latents.safetensors"
    init_latents(generator, "s", 1).save(path)
    with pytest.raises(ValueError, match='"s" holds styles, which have no code in W'):
        convert(network, path, tmp_path / "x.npz")
    replace(latents, fingerprint="0123456789abcdef").save(path)
    with pytest.raises(ValueError, match=r"belong to the generator 0123.* \(--generator is"):
        convert(network, path, tmp_path / "x.npz")
    np.save(tmp_path / "x.npy", np.zeros((7, 5), np.float32))
    with pytest.raises(ValueError, match=r"shape \(7, 5\), and this generator has"):
        convert(network, tmp_path / "x.npy", tmp_path / "y.safetensors")
    with pytest.raises(ValueError, match="it must end in .npz, the format that is written"):
        convert(network, tmp_path / "x.npy", tmp_path / "y.safetensors", to="npz")
    with pytest.raises(ValueError, match=r"must end in \.safetensors, \.npz, \.pt, \.npy, the"):
        convert(network, tmp_path / "x.npy", tmp_path / "y.txt")
    with pytest.raises(ValueError, match="itself; choose another name"):
        convert(network, tmp_path / "x.npy", tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("shape", "space"),
    [
        ((512,), "w of 1 image"),
        ((18, 512), "w of 18 images; w+ of 1 image for a generator of 18 style inputs"),
        ((1, 18, 512), "w+ of 1 image, 18 style inputs"),
        ((4, 14, 512), "w+ of 4 images, 14 style inputs"),
    ],
)
def test_info_says_what_codes_are(tmp_path, shape, space, capsys):
    np.savez(tmp_path / "x.npz", w=np.zeros(shape, np.float32))
    assert describe(str(tmp_path / "x.npz"))["space"] == space
    torch.save(torch.zeros(shape), tmp_path / "x.pt")
    assert Info(file=str(tmp_path / "x.pt")).run() == 0
    said = capsys.readouterr().out
    assert "latent codes of another program: e4e, pSp or PTI (a tensor)" in said
    assert "not named in the file" in said


def test_info_names_the_generator_where_the_file_does(tmp_path, network, generator, latents):
    latents.save(tmp_path / "latents.safetensors")
    convert(network, tmp_path / "latents.safetensors", tmp_path / "x.npz")
    assert describe(str(tmp_path / "x.npz"))["generator"] == generator.fingerprint
