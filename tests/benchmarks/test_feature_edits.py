"""How far edits of features go."""

import pytest
import torch

from benchmarks import feature_edits
from benchmarks.feature_edits import projected
from facsimile import data, encoders, stylegan

JUDGE = """
import numpy as np

def identity(image):
    return np.array([0.6, 0.8])

def landmarks68(image):
    mean = image.reshape(-1, 3).mean(0)
    return np.stack([mean[:2]] * 68)
"""


def test_share_of_the_way():
    wanted = torch.tensor([[[3.0, 4.0]], [[1.0, 0.0]]])
    assert projected(wanted, wanted).tolist() == [1, 1]
    assert projected(-0.5 * wanted, wanted).tolist() == [-0.5, -0.5]
    assert projected(torch.tensor([[[-4.0, 3.0]], [[0.0, 7.0]]]), wanted).tolist() == [0, 0]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    source = torch.Generator().manual_seed(0)
    for name in ("a.png", "b.png"):
        data.to_pil(torch.rand(3, 32, 32, generator=source) * 2 - 1).save(folder / name)
    return folder


@pytest.fixture
def networks(tmp_path, generator, make_discriminator, make_encoder):
    """The folder of a generator with its discriminator and the encoders that are needed."""
    folder = tmp_path / "networks"
    folder.mkdir()
    stylegan.save(generator, folder / "generator.safetensors")
    discriminator = make_discriminator(generator.resolution)
    stylegan.save(discriminator, folder / "discriminator.safetensors")
    layer = generator.default_feature_layer()
    for kind, options in (("feature", {"layer": layer}), ("in-domain", {}), ("editor", {})):
        encoder = make_encoder(kind, generator, **options)
        encoders.save(encoder, folder / f"{kind}.safetensors")
    return folder


def test_a_run(tmp_path, networks, photos, capsys):
    """The in-domain code goes all of its way; an untrained editor adds the change."""
    (tmp_path / "judge.py").write_text(JUDGE)
    options = feature_edits.Options(
        faces=photos,
        count=2,
        directions=1,
        generator=str(networks),
        identity=tmp_path / "judge.py",
        out=tmp_path / "out",
    )
    feature_edits.main(options)
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[2:]]
    values = {row[0].strip(): [float(x) for x in row[1:]] for row in rows}
    assert values[feature_edits.IN_DOMAIN] == [1, 1, 1]
    assert values[feature_edits.ADDED] == values[feature_edits.EDITOR]
    assert values[feature_edits.STAYS] != values[feature_edits.ADDED]
    assert (tmp_path / "out" / "edits.png").is_file()
