"""The wheel: one top-level package. Alone in a fresh environment it works beside packages that are
called as the rooms are."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
FOREIGN = ("metrics", "data", "training", "encoders", "stylegan")
# What a source tree holds beside the package.
NOT_BUILT_FROM = (".*", "build", "dist", "out", "runs", "*.egg-info", "__pycache__", "tests")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools' build folder would keep files that are gone."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*NOT_BUILT_FROM))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, folder / "source"],
        check=True,
    )
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.exhaustive
def test_one_top_level(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [x for x in names if x.endswith(".dist-info/METADATA")]
        text = archive.read(metadata).decode()
        (top_level,) = [x for x in names if x.endswith(".dist-info/top_level.txt")]
        assert archive.read(top_level).decode().split() == ["facsimile"]
    folders = {name.partition("/")[0] for name in names}
    assert folders == {"facsimile", metadata.partition("/")[0]}
    # Everything that the checkout has is there.
    rooms = {name.split("/")[1] for name in names if name.startswith("facsimile/")}
    assert {"stylegan", "metrics", "data", "training", "encoders", "refine"} <= rooms
    assert {"editing", "checkpoints", "commands", "py.typed"} <= rooms
    assert "facsimile/checkpoints/faces/generator.safetensors" in names
    # The terms of code and networks are apart.
    assert "License-Expression: MIT AND LicenseRef-facsimile-networks" in text
    assert "License-File: LICENSE" in text
    assert "License-File: checkpoints/faces/README.md" in text
    assert "License-File: checkpoints/landmarks68/README.md" in text


class Alone:
    """An environment with the wheel, and a project with packages of its own."""

    def __init__(self, folder: Path, wheel: Path):
        self.project = folder / "project"
        for name in FOREIGN:
            (self.project / name).mkdir(parents=True)
            (self.project / name / "__init__.py").write_text(f'FOREIGN = "{name}"\n')
        venv.create(folder / "environment", with_pip=False)
        self.python = folder / "environment" / "bin" / "python"
        site = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        packages = folder / "environment" / site
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
            + ["--target", packages, wheel],
            check=True,
        )
        # Its requirements are those of this environment, without the checkout: a path file does
        # not read the path files of the folder that it names.
        (packages / "requirements.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")

    def run(self, code: str, *args: object) -> str:
        """Run code where the project's packages come first; what it prints."""
        environment = {k: x for k, x in os.environ.items() if not k.startswith("PYTHON")}
        ran = subprocess.run(
            [self.python, "-c", code, *map(str, args)],
            cwd=self.project,
            env=environment | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{args}: {(ran.stdout + ran.stderr)[-3000:]}"
        return ran.stdout

    def facsimile(self, *args: object) -> str:
        return self.run("import sys; from facsimile.cli import main; sys.exit(main())", *args)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Alone:
    return Alone(tmp_path_factory.mktemp("alone"), wheel)


@pytest.mark.wheel
def test_the_package_is_the_wheels(alone: Alone) -> None:
    names = ", ".join(FOREIGN)
    code = f"import facsimile.studio, {names}\nprint(facsimile.__file__)\n"
    code += "".join(f"print({name}.FOREIGN)\n" for name in FOREIGN)
    path, *foreign = alone.run(code).split()
    assert Path(path).is_relative_to(alone.python.parents[1])
    assert foreign == list(FOREIGN)


@pytest.mark.wheel
def test_inverts_a_photo(alone: Alone) -> None:
    alone.facsimile("sample", "--count", 1, "--out", "photos/")
    flags = ("--no-align", "--steps", 2, "--perceptual", "discriminator", "--out", "out")
    alone.facsimile("invert", "photos/", *flags)
    assert (alone.project / "out" / "000000" / "latents.safetensors").is_file()


SMALL = ("--images", 64, "--threads", 1, "--precision", "fp32", "--num-samples", 2)
OF_PAIR = (*SMALL, "--generator", "pair", "--perceptual", "discriminator", "--width", 4)
# Landmarks are detected in faces alone: samples of the bundled generator.
OF_FACES = (*SMALL, "--generator", "faces", "--perceptual", "discriminator", "--width", 4)
OF_FACES += (
    "--eval-images",
    4,
    "--max-width",
    8,
    "--resolution",
    16,
    "--batch",
    16,
    "--bn-group-size",
    4,
)
RECIPES = {
    "generator": (*SMALL, "--data", "faces", "--resolution", 16, "--channel-base", 64)
    + ("--channel-max", 8, "--z-dim", 16, "--batch", 16, "--frechet", "none"),
    "base": OF_PAIR,
    "feature": (*OF_PAIR, "--codes-width", 8, "--identity", "off"),
    "in-domain": (*OF_PAIR, "--max-width", 8),
    "difference": OF_FACES,
    "keypoint": OF_FACES,
    "naive": OF_FACES,
    "landmarks": (*SMALL, "--data", "faces", "--landmark-file", "faces.npz", "--side", 16)
    + ("--width", 4, "--depth", 1, "--batch", 8),
}


@pytest.fixture(scope="module")
def faces(alone: Alone) -> Alone:
    """Pictures with points, and a trained pair of networks, in the project."""
    (alone.project / "faces").mkdir()
    random = np.random.default_rng(0)
    names = [f"{index}.png" for index in range(16)]
    for name in names:
        pixels = random.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(alone.project / "faces" / name)
    points = 8 + 3 * random.standard_normal((len(names), 68, 2))
    np.savez(alone.project / "faces.npz", names=np.array(names), landmarks=points)
    alone.facsimile("train", "generator", *RECIPES["generator"], "--out", "pair")
    return alone


@pytest.mark.wheel
@pytest.mark.parametrize("recipe", RECIPES)
def test_trains_64_images(faces: Alone, recipe: str) -> None:
    out = faces.project / "runs" / recipe
    faces.facsimile("train", recipe, *RECIPES[recipe], "--out", out)
    assert list(out.glob("*.safetensors"))
    config = json.loads((out / "config.json").read_text())
    assert config["kind"] == recipe
