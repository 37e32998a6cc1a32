"""The program: what it writes, what it says, and what it survives."""

import json
import runpy
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from facsimile import checkpoints
from facsimile.commands import train
from facsimile.stylegan.layers import resample_filter, upsample
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
    printed = capsys.readouterr().out
    assert "23 images, 1 could not be read" in printed
    assert "frechet-discriminator" in printed
    config = json.loads((out / "config.json").read_text())
    assert config["kind"] == "generator"
    assert config["settings"]["resolution"] == 8
    assert config["settings"]["r1-interval"] == 4
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
    networks = checkpoints.find(out)
    state = torch.load(out / "checkpoint.pt", weights_only=True)["state"]
    average = state["recipe"]["average"]
    name = "synthesis.b8.conv1.weight"
    assert torch.equal(networks.generator.state_dict()[name], average[name])
    assert not torch.equal(average[name], state["modules"]["generator"][name])
    assert networks.generator.mapping.w_avg.abs().sum() > 0
    assert networks.discriminator.img_resolution == 8


def test_a_run_without_images_to_show_goes_on(tmp_path, tiny, monkeypatch, capsys):
    monkeypatch.setattr(GeneratorRecipe, "sample_grid", lambda self: [])
    assert train.main(tiny(tmp_path / "run", images=8, sample_every=4)) == 0
    assert "8 images: no sheet" in capsys.readouterr().out
    assert not list((tmp_path / "run").glob("*.png"))
    assert checkpoints.find(tmp_path / "run").generator is not None


def test_growing_from_a_run(tmp_path, tiny, monkeypatch):
    """Before the first step it generates at 16 px what the run of 8 px generated, enlarged."""
    assert train.main(tiny(tmp_path / "small", images=8)) == 0
    first = []

    def setup_data(self, original=GeneratorRecipe.setup_data):
        first.append(torch.stack(self.sample_grid()))
        return original(self)

    monkeypatch.setattr(GeneratorRecipe, "setup_data", setup_data)
    out = tmp_path / "large"
    args = tiny(out, images=8, resolution=16, grow_images=16, init_from=tmp_path / "small")
    for name in ("--channel-base", "--channel-max"):
        index = args.index(name)
        del args[index : index + 2]
    assert train.main(args) == 0
    assert checkpoints.find(out).generator.resolution == 16
    small = checkpoints.find(tmp_path / "small").generator
    assert train.main(tiny(tmp_path / "same", images=4, init_from=tmp_path / "small")) == 0
    large, same = first
    assert large.shape[2:] == (16, 16)
    assert small.resolution == 8
    assert torch.equal(large, upsample(same, resample_filter()))


def test_dry_run(tmp_path, tiny, capsys):
    assert train.main(tiny(tmp_path / "run") + ["--dry-run"]) == 0
    configuration = json.loads(capsys.readouterr().out)
    assert configuration["settings"]["batch"] == 4
    assert configuration["parameters"].keys() == {"critic", "generator"}
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_train_py_is_the_command(monkeypatch, capsys):
    """The file at the top of a checkout runs the same program."""
    script = Path(__file__).parents[2] / "train.py"
    monkeypatch.setattr(sys, "argv", [str(script), "generator", "--help"])
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(script), run_name="__main__")
    assert "--style-mixing-prob FLOAT" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 3}, "must be a multiple of 2"),
        ({"accumulate": 4}, "must be a multiple of 8"),
        ({"data": "nowhere"}, "nowhere: no such file or folder"),
        ({"init_from": "nobody"}, 'there is no generator "nobody"'),
    ],
)
def test_wrong_use(tmp_path, tiny, capsys, changes, message):
    assert train.main(tiny(tmp_path / "run", **changes)) == train.WRONG_USE
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 24}, "--resolution is 24; it must be a power of two"),
        ({"images": 0}, "--images is 0; it must be at least 1"),
        ({"precision": "fp16"}, "fp16"),
        ({"pl_interval": 0}, "--pl-interval is 0; it must be at least 1"),
        ({"ema_images": -1}, "--ema-images is -1.0; it must be at least 0"),
    ],
)
def test_settings_that_cannot_be(tmp_path, tiny, capsys, changes, message):
    with pytest.raises(SystemExit) as left:
        train.main(tiny(tmp_path / "run", **changes))
    assert left.value.code == train.WRONG_USE
    error = capsys.readouterr().err
    assert message in " ".join(error.replace("│", " ").split())


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
    # More images and other intervals of reports are allowed.
    assert train.main(tiny(out, images=16, log_every=1, num_samples=3)) == 0
    assert torch.load(out / "checkpoint.pt", weights_only=True)["state"]["step"] == 4


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "--accumulate"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried ..."), "smaller --batch"),
        (MemoryError(), "the same result"),
    ],
)
def test_out_of_memory_is_a_sentence(tmp_path, tiny, capsys, monkeypatch, error, message):
    def fail(*args):
        raise error

    monkeypatch.setattr(GeneratorRecipe, "forward", fail)
    assert train.main(tiny(tmp_path / "run")) == train.WRONG_USE
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("train: out of memory; ")
    assert message in last


def test_other_runtime_errors_are_not_hidden(tmp_path, tiny, monkeypatch):
    def fail(*args):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(GeneratorRecipe, "forward", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train.main(tiny(tmp_path / "run"))


def test_losses_that_are_not_finite(tmp_path, tiny, capsys, monkeypatch):
    """The run stops, and the checkpoint is that from before."""
    losses = GeneratorRecipe.losses

    def broken(self, name, batch, shared):
        terms = losses(self, name, batch, shared)
        if batch.step == 5 and name == "generator":
            terms["generator/fake"] = terms["generator/fake"] * float("nan")
        return terms

    monkeypatch.setattr(GeneratorRecipe, "losses", broken)
    out = tmp_path / "run"
    assert train.main(tiny(out, images=80, log_every=100)) == train.DIVERGED
    error = capsys.readouterr().err
    assert "became NaN or infinite" in error
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
        # The run goes on without a checkpoint, but must have one at its end.
        assert train.main(tiny(out, images=32)) == train.WRONG_USE
    printed = capsys.readouterr()
    assert "cannot write" in printed.out + printed.err
    assert "No space left on device" in printed.err
    assert (out / "checkpoint.pt").read_bytes() == before
    assert not list(out.glob("*.part"))
    assert train.main(tiny(out, images=32)) == 0


def test_zips_are_data_too(tmp_path, tiny, pictures, tensors):
    """A zip gives the weights of the folder that it was made from, bit for bit."""
    archive = tmp_path / "faces.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in pictures.glob("*.png"):
            file.write(path, f"{int(path.stem):03}.png")  # a zip is sorted by name
    assert train.main(tiny(tmp_path / "zip", data=archive, images=8)) == 0
    assert train.main(tiny(tmp_path / "folder", images=8)) == 0
    one, two = tensors(tmp_path / "zip"), tensors(tmp_path / "folder")
    assert one.keys() == two.keys()
    weights = [name for name in one if name.startswith("/modules")]
    assert len(weights) > 30
    assert all(torch.equal(one[name], two[name]) for name in weights)


def test_settings_from_a_file(tmp_path, tiny, capsys):
    """OUT/config.json repeats the run, TOML does as well, and flags override both."""
    assert train.main(tiny(tmp_path / "first", images=8, frechet="none") + ["--no-mirror"]) == 0
    config = tmp_path / "first" / "config.json"
    again = tmp_path / "again"
    capsys.readouterr()
    args = ["generator", "--config", str(config), "--out", str(again), "--mirror", "--dry-run"]
    assert train.main(args) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    first = json.loads(config.read_text())["settings"]
    changed = {name for name in first if first[name] != settings[name]}
    assert changed == {"out", "mirror", "dry-run", "config"}

    toml = tmp_path / "settings.toml"
    toml.write_text(
        f'out = "{again}"\nimages = 8\ndata = ["a.zip", "b"]\nresolution = 8\nema_images = 500\n'
        "mirror = false\n"
    )
    if sys.version_info < (3, 11):
        assert train.main(["generator", f"--config={toml}"]) == train.WRONG_USE
        assert "TOML needs Python 3.11" in capsys.readouterr().err
        return
    assert train.main(["generator", f"--config={toml}", "--images", "16", "--dry-run"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert settings["images"] == 16
    assert settings["data"] == ["a.zip", "b"]
    assert settings["ema-images"] == 500
    assert settings["mirror"] is False


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("missing.json", None, "there is no such file"),
        ("settings.json", "{", "cannot read"),
        ("settings.json", "[]", "is not a table of settings"),
        (
            "settings.json",
            '{"kind": "naive"}',
            "has settings of naive, and this is train generator",
        ),
        ("settings.json", '{"ema": {"ema-images": 3}}', "has a table ema; expected settings"),
    ],
)
def test_wrong_settings_files(tmp_path, capsys, name, text, message):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    assert train.main(["generator", "--config", str(path)]) == train.WRONG_USE
    assert message in capsys.readouterr().err


def test_a_torn_checkpoint(tmp_path):
    """The one before it is used; if both are torn, a sentence says so."""
    checkpoint = Checkpoints(tmp_path, {"seed": 0})
    checkpoint.save({"step": 1})
    checkpoint.save({"step": 2})
    assert checkpoint.load() == {"step": 2}
    checkpoint.last.write_bytes(checkpoint.last.read_bytes()[:50])
    assert checkpoint.load() == {"step": 1}
    checkpoint.before.write_bytes(b"")
    with pytest.raises(ValueError, match="no checkpoint can be read"):
        checkpoint.load()


def test_a_stop_between_the_two_renamings(tmp_path):
    checkpoint = Checkpoints(tmp_path, {})
    checkpoint.save({"step": 1})
    checkpoint.last.replace(checkpoint.before)
    assert checkpoint.load() == {"step": 1}


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (2, "was written by a newer version of facsimile .checkpoint format 2, expected 1."),
        (None, "was written by an older version of facsimile"),
    ],
)
def test_versions_of_checkpoints(tmp_path, version, message):
    checkpoint = Checkpoints(tmp_path, {})
    checkpoint.save({"step": 1})
    content = torch.load(checkpoint.last, weights_only=True)
    assert content.pop("version") == 1
    torch.save(content | ({} if version is None else {"version": version}), checkpoint.last)
    with pytest.raises(ValueError, match=message):
        checkpoint.load()


def test_a_setting_that_is_newer_than_the_checkpoint(tmp_path):
    Checkpoints(tmp_path, {"seed": 0}).save({"step": 1})
    assert Checkpoints(tmp_path, {"seed": 0, "invented-later": 3}).load() == {"step": 1}
    with pytest.raises(ValueError, match="was trained with seed 0 and not 1"):
        Checkpoints(tmp_path, {"seed": 1}).load()


def test_other_networks(tmp_path, tiny, capsys):
    """A checkpoint from before a setting existed, whose networks that setting changes."""
    out = tmp_path / "run"
    assert train.main(tiny(out, images=8)) == 0
    content = torch.load(out / "checkpoint.pt", weights_only=True)
    del content["settings"]["z-dim"]
    torch.save(content, out / "checkpoint.pt")
    assert train.main(tiny(out, images=16, z_dim=4)) == train.WRONG_USE
    assert "does not fit the networks of these settings" in capsys.readouterr().err
