"""A folder with a tiny generator and discriminator, and photos to invert."""

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from facsimile import encoders, stylegan


@pytest.fixture(scope="module", autouse=True)
def without_dlib(small_identity):
    """Only test_identity.py recognises people: it has the network itself as small_identity."""


@pytest.fixture(scope="session")
def network(tmp_path_factory, make_generator, make_discriminator):
    """Folder of a 32 px generator and its discriminator."""
    folder = tmp_path_factory.mktemp("network")
    stylegan.save(make_generator(32), folder / "generator.safetensors")
    stylegan.save(make_discriminator(32), folder / "discriminator.safetensors")
    return folder


@pytest.fixture(scope="session")
def moving(tmp_path_factory, make_generator, make_encoder):
    """Encoders of the network: difference/ and in-domain/."""
    folder, generator = tmp_path_factory.mktemp("moving"), make_generator(32)
    for kind in ("difference", "in-domain"):
        (folder / kind).mkdir()
        encoders.save(make_encoder(kind, generator), folder / kind / encoders.FILE)
    return [folder / "difference", folder / "in-domain"]


@pytest.fixture(scope="session")
def runs(tmp_path_factory, make_generator, make_encoder):
    """Folder of encoders of that generator: base/, keep/ (with the RGB skip, at b8.conv1),
    feature/ (at b16.conv0), in-domain/; and foreign/, the base encoder of another.
    """
    folder = tmp_path_factory.mktemp("runs")
    generator, stranger = make_generator(32), make_generator(32, seed=5)
    made = {
        "base": make_encoder("base", generator),
        "keep": make_encoder("base", generator, layer="b8.conv1", rgb_skip="keep"),
        "feature": make_encoder("feature", generator, layer="b16.conv0"),
        "in-domain": make_encoder("in-domain", generator),
        "foreign": make_encoder("base", stranger),
    }
    for name, encoder in made.items():
        (folder / name).mkdir()
        encoders.save(encoder, folder / name / encoders.FILE)
    return folder


@pytest.fixture(scope="session")
def photo():
    """A photo with one face, 512x512."""
    return Image.fromarray(astronaut())


@pytest.fixture
def squares(tmp_path):
    """Three aligned pictures "0.png" to "2.png" in a folder."""
    folder = tmp_path / "squares"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        small.resize((48, 48), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder
