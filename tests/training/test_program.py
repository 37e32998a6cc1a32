"""The program: what it writes, what it says, and what it survives."""

import json
import zipfile

import pytest
import torch

import train
from facsimile import checkpoints
from facsimile.training import Checkpoints
from facsimile.training.generator import GeneratorRecipe


def test_a_run_leaves_networks_sheets_and_curves(tmp_path, tiny, pictures, capsys):
    (pictures / "broken.png").write_bytes(b"broken")
    out = tmp_path / "run"
    try:
        code = train.main(tiny(out, images=16, sample_every=8, frechet="discriminator"))
    finally:
        (pictures / "broken.png").unlink()
    assert code == 0
    said = capsys.readouterr().out
    assert "23 images, 1 could not be read" in said
    assert "frechet-discriminator" in said
    config = json.loads((out / "config.json").read_text())
    assert config["settings"]["resolution"] == 8
    assert config["parameters"]["generator"] > 0
    assert [path.name for path in sorted(out.glob("*.png"))] == [
        "samples-000000008.png",
        "samples-000000016.png",
    ]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "curves")).Reload()
    assert {"loss/critic/fake", "loss/generator/fake", "lr/critic", "images/s"} <= set(
        events.Tags()["scalars"]
    )
    assert events.Tags()["images"] == ["samples"]
    # The folder is one that every command takes, and holds the moving average.
    found = checkpoints.find(out)
    state = torch.load(out / "checkpoint.pt", weights_only=True)["state"]
    average = state["recipe"]["average"]
    name = "synthesis.b8.conv1.weight"
    assert torch.equal(found.generator.state_dict()[name], average[name])
    assert not torch.equal(average[name], state["modules"]["generator"][name])
    assert found.generator.mapping.w_avg.abs().sum() > 0
    assert found.discriminator.img_resolution == 8


def test_a_run_without_anything_to_show_goes_on(tmp_path, tiny, monkeypatch, capsys):
    monkeypatch.setattr(GeneratorRecipe, "samples", lambda self: [])
    assert train.main(tiny(tmp_path / "run", images=8, sample_every=4)) == 0
    assert "8 images: no sheet" in capsys.readouterr().out
    assert not list((tmp_path / "run").glob("*.png"))
    assert checkpoints.find(tmp_path / "run").generator is not None


def test_growing_from_a_run(tmp_path, tiny):
    """Its generator draws at 16 px what the run of 8 px drew, enlarged, before the first step."""
    assert train.main(tiny(tmp_path / "small", images=8)) == 0
    out = tmp_path / "large"
    flags = tiny(out, images=8, resolution=16, grow_images=16) + ["--from", str(tmp_path / "small")]
    for name in ("--channel-base", "--channel-max"):
        place = flags.index(name)
        del flags[place : place + 2]
    assert train.main(flags) == 0
    assert checkpoints.find(out).generator.resolution == 16


def test_dry_run(tmp_path, tiny, capsys):
    assert train.main(tiny(tmp_path / "run") + ["--dry-run"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["settings"]["batch"] == 4
    assert said["parameters"].keys() == {"critic", "generator"}
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch": 3}, "must be a multiple of 2"),
        ({"accumulate": 4}, "must be a multiple of 8"),
        ({"data": "nowhere"}, "nowhere: no such file or folder"),
        ({"from": "nobody"}, 'there is no generator "nobody"'),
    ],
)
def test_wrong_use(tmp_path, tiny, capsys, changes, said):
    assert train.main(tiny(tmp_path / "run", **changes)) == train.WRONG_USE
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resolution": 24}, "--resolution is 24; it must be a power of two"),
        ({"images": 0}, "--images is 0; it must be at least 1"),
        ({"precision": "fp16"}, "fp16"),
    ],
)
def test_settings_that_cannot_be(tmp_path, tiny, capsys, changes, said):
    with pytest.raises(SystemExit) as left:
        train.main(tiny(tmp_path / "run", **changes))
    assert left.value.code == train.WRONG_USE
    error = capsys.readouterr().err
    assert said in " ".join(error.replace("│", " ").split())


def test_an_empty_folder(tmp_path, tiny, capsys):
    assert train.main(tiny(tmp_path / "run", data=tmp_path)) == train.WRONG_USE
    assert "no image found" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_other_settings(tmp_path, tiny, capsys):
    out = tmp_path / "run"
    assert train.main(tiny(out, images=8)) == 0
    assert train.main(tiny(out, images=8, lr=0.001, seed=3)) == train.WRONG_USE
    error = capsys.readouterr().err
    assert "was trained with lr 0.0025 and not 0.001, seed 0 and not 3" in error
    # More images is no other setting.
    assert train.main(tiny(out, images=16)) == 0
    assert torch.load(out / "checkpoint.pt", weights_only=True)["state"]["step"] == 4


def test_losses_that_are_no_numbers(tmp_path, tiny, capsys, monkeypatch):
    """The run stops, and the checkpoint is that from before."""
    losses = GeneratorRecipe.losses

    def broken(self, player, place):
        found = losses(self, player, place)
        if place.step == 5 and player == "generator":
            found["generator/fake"] = found["generator/fake"] * float("nan")
        return found

    monkeypatch.setattr(GeneratorRecipe, "losses", broken)
    out = tmp_path / "run"
    assert train.main(tiny(out, images=80, log_every=100)) == train.DIVERGED
    error = capsys.readouterr().err
    assert "became no number" in error
    assert "checkpoint" in error
    state = torch.load(out / "checkpoint.pt", weights_only=True)["state"]
    assert state["step"] == 4
    assert all(x.isfinite().all() for x in state["modules"]["generator"].values())


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path, tiny, capsys, monkeypatch):
    out = tmp_path / "run"
    assert train.main(tiny(out, images=8)) == 0
    before = (out / "checkpoint.pt").read_bytes()

    def full(state, file):
        file.write(b"a part")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full)
        # Between, the run goes on without; at its end there must be a checkpoint.
        assert train.main(tiny(out, images=32)) == train.WRONG_USE
    said = capsys.readouterr()
    assert "could not write" in said.out + said.err
    assert "No space left on device" in said.err
    assert (out / "checkpoint.pt").read_bytes() == before
    assert not list(out.glob("*.part"))
    assert train.main(tiny(out, images=32)) == 0


def test_a_torn_checkpoint(tmp_path):
    """The one before it is taken; where both are torn, a sentence says so."""
    keep = Checkpoints(tmp_path, {"seed": 0})
    keep.save({"step": 1})
    keep.save({"step": 2})
    assert keep.load() == {"step": 2}
    keep.last.write_bytes(keep.last.read_bytes()[:50])
    assert keep.load() == {"step": 1}
    keep.before.write_bytes(b"")
    with pytest.raises(ValueError, match="no checkpoint can be read"):
        keep.load()


def test_a_stop_between_the_two_renamings(tmp_path):
    keep = Checkpoints(tmp_path, {})
    keep.save({"step": 1})
    keep.last.replace(keep.before)
    assert keep.load() == {"step": 1}


def test_zips_are_data_too(tmp_path, tiny, pictures):
    archive = tmp_path / "faces.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in pictures.glob("*.png"):
            file.write(path, path.name)
    assert train.main(tiny(tmp_path / "run", data=archive, images=4)) == 0


def test_a_setting_that_is_newer_than_the_checkpoint(tmp_path):
    Checkpoints(tmp_path, {"seed": 0}).save({"step": 1})
    assert Checkpoints(tmp_path, {"seed": 0, "invented later": 3}).load() == {"step": 1}
    with pytest.raises(ValueError, match="was trained with seed 0 and not 1"):
        Checkpoints(tmp_path, {"seed": 1}).load()


def test_other_networks(tmp_path, tiny, capsys):
    """A checkpoint from before a setting was known, whose networks that setting changes."""
    out = tmp_path / "run"
    assert train.main(tiny(out, images=8)) == 0
    found = torch.load(out / "checkpoint.pt", weights_only=True)
    del found["settings"]["latent"]
    torch.save(found, out / "checkpoint.pt")
    assert train.main(tiny(out, images=16, latent=4)) == train.WRONG_USE
    assert "holds other networks than these settings make" in capsys.readouterr().err
