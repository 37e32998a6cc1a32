"""`facsimile convert` and `facsimile info`, on files of other programs."""

import pytest
import torch
from containers import rosinality_discriminator, write_rosinality

from facsimile import checkpoints, encoders, stylegan
from facsimile.cli import main
from facsimile.stylegan import files


def command(*args):
    with pytest.raises(SystemExit) as left:
        main([str(arg) for arg in args])
    return left.value.code


@pytest.fixture
def file(tmp_path):
    """(a rosinality file without discriminator, the generator in it)"""
    path = tmp_path / "generator.pt"
    write_rosinality(path, discriminator=False)
    return path, stylegan.load(path)


def test_convert(file, tmp_path, capsys):
    path, generator = file
    out = tmp_path / "new" / "generator.safetensors"
    assert command("convert", path, "--out", out) == 0
    said = capsys.readouterr().out
    assert f"{out}\n" in said
    assert generator.fingerprint in said
    assert stylegan.load(out).fingerprint == generator.fingerprint
    assert [x.name for x in out.parent.iterdir()] == [out.name]
    half = tmp_path / "half.safetensors"
    assert command("convert", out, "--out", half, "--half") == 0
    assert half.stat().st_size < 0.6 * out.stat().st_size
    assert stylegan.load(half).fingerprint in capsys.readouterr().out


def test_info(file, tmp_path, capsys, make_discriminator):
    path, generator = file
    assert command("info", path) == 0
    said = capsys.readouterr().out
    assert "generator, stylegan2" in said
    assert "32 px, 3 channels" in said
    assert "z 64, w 64, 8 style inputs" in said
    assert f"{sum(x.numel() for x in generator.parameters()):,}" in said
    assert "none in the file or beside it" in said
    assert generator.fingerprint in said
    assert "mean w" not in said
    write_rosinality(path, trained=True, discriminator=False)
    assert command("info", path) == 0
    assert "computed from 10,000 samples" in capsys.readouterr().out
    stylegan.save(make_discriminator(16, img_channels=1), tmp_path / "other.safetensors")
    assert command("info", tmp_path / "other.safetensors") == 0
    said = capsys.readouterr().out
    assert "discriminator, stylegan2" in said
    assert "16 px, 1 channels" in said


def test_info_of_an_encoders_run(
    tmp_path, capsys, make_generator, make_discriminator, make_encoder
):
    generator = make_generator(16, 8, 8)
    eyes = make_discriminator(16)
    encoder = make_encoder("base", generator, iterations=3, feature_net=eyes)
    encoders.save(encoder, tmp_path / encoders.FILE)
    assert command("info", tmp_path) == 0
    said = capsys.readouterr().out
    assert "encoder, base" in said
    assert "iterations 3, feature_net 16 px" in said


@pytest.mark.parametrize("kind", ["base", "feature", "in-domain", "naive"])
def test_an_encoder(tmp_path, capsys, make_generator, make_encoder, kind):
    """At half the size it says the same, to the last digits of float16."""
    generator = make_generator(16, 8, 8)
    encoder = make_encoder(kind, generator)
    path, out = tmp_path / "encoder.safetensors", tmp_path / "new" / f"{kind}.safetensors"
    encoders.save(encoder, path)
    assert command("convert", path, "--out", out, "--network", "encoder", "--half") == 0
    assert f"of the generator  {generator.fingerprint}" in capsys.readouterr().out
    assert command("info", out) == 0
    printed = capsys.readouterr().out
    assert f"encoder, {kind}" in printed
    assert ("codes (img_channels 3, resolution 16, num_ws 6, " in printed) == (kind == "feature")
    matrices = sum(x.nbytes for x in encoder.state_dict().values() if x.ndim > 1)
    assert path.stat().st_size - out.stat().st_size == pytest.approx(matrices / 2, rel=0.05)
    one, two = encoders.load(path, generator), encoders.load(out, generator)
    told = [torch.randn(2, 3, 16, 16)]
    if kind == "naive":
        told.append(16 * torch.rand(2, 68, 2))
    torch.testing.assert_close(one(*told), two(*told), rtol=0.01, atol=0.01)
    assert command("convert", path, "--out", out) == 2
    assert "encoder" in capsys.readouterr().err


def test_the_input_is_not_overwritten(file, tmp_path, capsys):
    path, _ = file
    link = tmp_path / "link.safetensors"
    link.symlink_to(path)
    before = path.read_bytes()
    assert command("convert", path, "--out", path) == 2
    assert "must end in .safetensors" in capsys.readouterr().err
    assert command("convert", path, "--out", link) == 2
    assert "itself; choose another name" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_wrong_files_are_status_2_with_a_sentence(file, tmp_path, capsys):
    path, _ = file
    out = tmp_path / "out.safetensors"
    assert command("convert", path, "--out", out, "--network", "discriminator") == 2
    assert "holds a generator only; expected a discriminator" in capsys.readouterr().err
    assert command("convert", tmp_path / "none.pkl", "--out", out) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not out.exists()


def test_a_discriminator_in_the_same_file(file, tmp_path, capsys):
    path, _ = file
    write_rosinality(path)
    assert command("info", path) == 0
    assert "present, stylegan2" in capsys.readouterr().out
    assert checkpoints.find(path).discriminator.img_resolution == 32
    out = tmp_path / "discriminator.safetensors"
    assert command("convert", path, "--out", out, "--network", "discriminator") == 0
    assert f"{path} holds a generator too: --network generator" in capsys.readouterr().out
    assert stylegan.load_discriminator(out).img_resolution == 32


def test_an_unknown_discriminator_does_not_stand_in_the_way(file, capsys):
    path, generator = file
    saved = torch.load(path, weights_only=True)
    torch.save(saved | {"d": rosinality_discriminator() | {"more": torch.ones(1)}}, path)
    found = checkpoints.find(path)
    assert found.discriminator is None
    assert found.generator.fingerprint == generator.fingerprint
    assert command("info", path) == 0
    assert "in the file, but not supported" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "none"),
        ({"truncation_psi": 0.7}, "psi 0.7 on all style inputs"),
        ({"truncation_psi": 0.7, "truncation_cutoff": 4}, "psi 0.7 on the first 4 style inputs"),
    ],
)
def test_info_of_latents(tmp_path, capsys, make_generator, fields, expected):
    path = tmp_path / "latents.safetensors"
    stylegan.init_latents(make_generator(8, 4, 8), "w+", 1, **fields).save(path)
    assert command("info", path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split(maxsplit=1) == ["kind", "latents of 1 image"]
    assert f"truncation  {expected}" in lines


@pytest.mark.parametrize("given", ["folder", "name"])
def test_convert_a_folder_or_a_bundled_name(network, tmp_path, monkeypatch, capsys, given):
    if given == "name":
        monkeypatch.setattr(checkpoints, "names", lambda: [network.name])
        monkeypatch.setattr(checkpoints, "BUNDLED", network.parent)
    source = network if given == "folder" else network.name
    for kind in ("generator", "discriminator"):
        out = tmp_path / f"{kind}.safetensors"
        assert command("convert", source, "--out", out, "--network", kind) == 0
        (_, made), (_, present) = (files.read_tensors(x) for x in (out, network / out.name))
        assert made.keys() == present.keys()
        assert all(torch.equal(made[name], x) for name, x in present.items())
    out = tmp_path / "encoder.safetensors"
    assert command("convert", source, "--out", out, "--network", "encoder") == 2
    printed = capsys.readouterr().err
    assert "has no encoder.safetensors; name one of the files in it: discriminator.safe" in printed
