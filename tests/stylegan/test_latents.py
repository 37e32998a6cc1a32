"""Oracles: what is saved comes back bit for bit, and draws the same picture."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from facsimile import stylegan
from facsimile.stylegan import Latents, spaces

NAMES = [prefix + name for prefix in ("", "f/") for name in spaces.SPACES]


@pytest.fixture(scope="module")
def labelled(make_generator):
    return make_generator(c_dim=2)


@pytest.fixture
def filled(labelled):
    """filled(space, ..) -> latents of three images in which every number is its own."""

    def fill(space, **options):
        start = stylegan.init_latents(
            labelled, space, 3, init="random", label=torch.rand(3, 2), **options
        )
        tensors = {name: x + 0.1 * torch.randn_like(x) for name, x in start.tensors().items()}
        maps = {f"noise.{i}": torch.randn_like(m) for i, m in enumerate(labelled.noise_maps(3))}
        return start.with_tensors(tensors | maps).retract()

    return fill


def same(a, b):
    a, b = a.tensors(), b.tensors()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("space", NAMES)
def test_files_keep_everything(labelled, filled, tmp_path, space):
    latents = filled(space, truncation_psi=0.7, truncation_cutoff=3, rgb_skip="keep")
    count = len(labelled.feature_layers)
    names = {"code", "label"} | {f"noise.{i}" for i in range(count)}
    names |= {"feature", "rgb"} if space.startswith("f/") else set()
    path = tmp_path / "latents.safetensors"
    if space.startswith("f/"):
        # b4.conv1 comes before the first toRGB layer: another layer, that there is an image so far.
        latents = filled(space, truncation_psi=0.7, truncation_cutoff=3, layer="b8.conv1")
    assert latents.tensors().keys() == names
    latents.save(path)
    again = Latents.load(path, labelled)
    assert same(again, latents)
    plain = ("space", "fingerprint", "layer", "truncation_psi", "truncation_cutoff")
    assert [getattr(again, n) for n in plain] == [getattr(latents, n) for n in plain]
    assert torch.equal(again.synthesize(labelled), latents.synthesize(labelled))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("rgb_skip", ["keep", "zero"])
def test_feature_of_the_mean(generator, tmp_path, rgb_skip):
    latents = stylegan.init_latents(generator, "f/w+", 2, layer="b16.conv0", rgb_skip=rgb_skip)
    whole = stylegan.init_latents(generator, "w+", 2).synthesize(generator)
    assert latents.layer == "b16.conv0"
    assert latents.feature.shape == (2, 16, 16, 16)
    assert torch.equal(latents.synthesize(generator), whole) == (rgb_skip == "keep")
    latents.save(tmp_path / "latents.safetensors")
    again = Latents.load(tmp_path / "latents.safetensors")
    assert (again.rgb is None) == (rgb_skip == "zero")
    assert torch.equal(again.synthesize(generator), latents.synthesize(generator))


def test_every_part_is_drawn(labelled, filled):
    latents = filled("f/w+", layer="b8.conv1")
    image = latents.synthesize(labelled)
    for name, x in latents.tensors().items():
        if name == "label" or name in ("noise.0", "noise.1", "noise.2"):
            continue  # these act before the feature, or in Z alone
        other = latents.with_tensors(latents.tensors() | {name: x + 0.5})
        assert (other.synthesize(labelled) - image).abs().max() > 1e-4, name
    for name in ("noise.0", "noise.1", "noise.2"):
        other = latents.with_tensors(latents.tensors() | {name: latents.tensors()[name] + 0.5})
        assert torch.equal(other.synthesize(labelled), image)


def test_label_of_z(labelled, filled):
    latents = filled("z+")
    other = replace(latents, label=latents.label.flip(1))
    assert (other.synthesize(labelled) - latents.synthesize(labelled)).abs().max() > 1e-4


def test_truncation(generator):
    latents = stylegan.init_latents(generator, "z", 2, seed=4)
    ws = generator.map(latents.code, truncation_psi=0.5, truncation_cutoff=3)
    short = replace(latents, truncation_psi=0.5, truncation_cutoff=3)
    assert torch.equal(short.synthesize(generator), generator.synthesize(ws))


def test_noise_in_place_of_the_maps(generator):
    latents = stylegan.init_latents(generator, "w+", 2)
    maps = tuple(torch.randn_like(m) for m in generator.noise_maps(2))
    noisy = replace(latents, noise=maps)
    assert torch.equal(noisy.synthesize(generator, "const"), latents.synthesize(generator))
    assert not torch.equal(noisy.synthesize(generator), latents.synthesize(generator))
    ws = latents.code
    assert torch.equal(noisy.synthesize(generator, "none"), generator.synthesize(ws, "none"))
    assert torch.equal(noisy.synthesize(generator), generator.synthesize(ws, maps))


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (0, [0]),
        (2, [2]),
        (-1, [2]),
        (-3, [0]),
        (slice(1, None), [1, 2]),
        (slice(None, None, 2), [0, 2]),
        ([2, 0], [2, 0]),
        (torch.tensor([1, 1]), [1, 1]),
        (torch.tensor([True, False, True]), [0, 2]),
    ],
)
def test_indexing(labelled, filled, index, rows):
    latents = filled("f/w+", layer="b8.conv1")
    some = latents[index]
    assert len(some) == len(rows)
    for name, x in some.tensors().items():
        assert torch.equal(x, latents.tensors()[name][rows])
    images = latents.synthesize(labelled)[rows]
    torch.testing.assert_close(some.synthesize(labelled), images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("index", [3, -4])
def test_no_such_image(filled, index):
    with pytest.raises(IndexError, match=f"latents {index} of 3"):
        filled("w")[index]


def test_iteration_ends(filled):
    assert [len(one) for one in filled("w")] == [1, 1, 1]


def test_dtype(generator64, filled):
    latents = filled("f/s")
    double = latents.to(dtype=torch.float64)
    assert {x.dtype for x in double.tensors().values()} == {torch.float64}
    assert same(double.to("cpu", torch.float32), latents)
    assert {x.dtype for x in latents.tensors().values()} == {torch.float32}


def test_detach_copies(filled):
    latents = filled("f/w")
    copy = latents.detach()
    for x in copy.tensors().values():
        x.zero_()
    assert latents.code.abs().sum() > 0
    assert latents.feature.abs().sum() > 0


def test_what_a_space_has():
    with pytest.raises(ValueError, match='latents in "w" have no feature'):
        Latents(space="w", code=torch.zeros(1, 4), fingerprint="x", feature=torch.zeros(1))
    with pytest.raises(ValueError, match='latents in "f/w" have a feature and its layer'):
        Latents(space="f/w", code=torch.zeros(1, 4), fingerprint="x", feature=torch.zeros(1))
    with pytest.raises(ValueError, match='no space "q"; choose one of p_n'):
        Latents(space="q", code=torch.zeros(1, 4), fingerprint="x")


def test_another_generator_is_refused(generator, make_generator, tmp_path):
    path = tmp_path / "latents.safetensors"
    stylegan.init_latents(generator, "w", 1).save(path)
    other = make_generator(seed=5)
    sentence = f"belong to the generator {generator.fingerprint}.*{other.fingerprint}; load the"
    with pytest.raises(ValueError, match=sentence):
        Latents.load(path, other)
    assert Latents.load(path).fingerprint == generator.fingerprint
    other.predecessors = {generator.fingerprint: "git show abc:old"}
    with pytest.raises(ValueError, match="bundled before .* fetches it: git show abc:old; then"):
        Latents.load(path, other)


def test_what_is_no_latents_file(generator, tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(FileNotFoundError, match="does not exist; expected a latents file"):
        Latents.load(path)
    stylegan.save(generator, path)
    expected = "no latents file: its format is 'facsimile network', expected 'facsimile latents'"
    with pytest.raises(ValueError, match=expected):
        Latents.load(path)
    path.write_bytes(b"GIF89a")
    with pytest.raises(
        ValueError, match="x.safetensors is no .safetensors file, or a damaged .safetensors file"
    ):
        Latents.load(path)


def test_a_cut_off_file(generator, tmp_path):
    path = tmp_path / "x.safetensors"
    stylegan.init_latents(generator, "w", 1).save(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="damaged"):
        Latents.load(path)


@pytest.mark.parametrize("culprit", ["write_bytes", "replace"])
@pytest.mark.parametrize("there", [False, True])
def test_a_failed_write_leaves_nothing(generator, tmp_path, monkeypatch, culprit, there):
    path = tmp_path / "x.safetensors"
    latents = stylegan.init_latents(generator, "w", 1)
    if there:
        latents.save(path)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(path, *arguments):
        if culprit == "write_bytes":
            with open(path, "wb") as file:
                file.write(b"half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, culprit, fail)
    with pytest.raises(OSError, match="no space left"):
        replace(latents, code=latents.code + 1).save(path)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_names_that_are_no_utf8_are_written_as_far_as_they_are(generator, tmp_path):
    """In the locale C every name is one that Python holds by lone surrogates."""
    latents = stylegan.init_latents(generator, "w+", 1)
    names = {b"Zo\xc3\xab": "Zoë", b"Zo\xeb": "Zo\ufffd"}
    for name, written in names.items():
        latents.save(tmp_path / "x.safetensors", name=name.decode("utf-8", "surrogateescape"))
        with safe_open(tmp_path / "x.safetensors", "pt") as file:
            assert file.metadata()["name"] == written


def test_shared_memory_is_no_obstacle(generator, tmp_path):
    """Maps that are one tensor, and rows that are one row expanded."""
    latents = stylegan.init_latents(generator, "w", 2)
    latents = replace(latents, code=latents.code[:1].expand(2, -1), label=latents.code)
    latents.save(tmp_path / "x.safetensors")
    assert same(Latents.load(tmp_path / "x.safetensors"), latents)


@pytest.mark.parametrize("space", ["z", "z+", "f/z+"])
def test_on_the_sphere_after_a_file(generator, tmp_path, space):
    latents = stylegan.init_latents(generator, space, 2, seed=3)
    latents.save(tmp_path / "x.safetensors")
    again = Latents.load(tmp_path / "x.safetensors", generator)
    assert again.deviation(generator).max() < 1e-5
    away = replace(latents, code=1.2 * latents.code)
    torch.testing.assert_close(away.deviation(generator), torch.full((2,), 0.2))
    torch.testing.assert_close(away.retract().code, latents.code)


def test_deviation_leaves_out_what_the_feature_replaces(generator):
    latents = stylegan.init_latents(generator, "f/w+", 1, layer="b8.conv1")
    first = latents.first_ws_index(generator)
    assert first == 3
    assert stylegan.init_latents(generator, "w+", 1).first_ws_index(generator) == 0
    code = latents.code.clone()
    code[:, :first] = 9.0
    assert torch.equal(
        replace(latents, code=code).deviation(generator), latents.deviation(generator)
    )
    code[:, first] = 9.0
    assert replace(latents, code=code).deviation(generator) > latents.deviation(generator) + 0.5
