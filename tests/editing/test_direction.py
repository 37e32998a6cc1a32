"""Direction. Oracles: numpy's PCA of samples, and steps by hand."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from facsimile import editing, stylegan
from facsimile.editing.direction import read_direction
from facsimile.stylegan.statistics import principal_directions


def test_principal_directions_are_those_of_samples(generator):
    z = torch.randn(50_000, generator.z_dim, generator=torch.Generator().manual_seed(3))
    w = generator.mapping(z).double().numpy()
    _, sizes, rows = np.linalg.svd(w - w.mean(0), full_matrices=False)
    directions = principal_directions(generator).numpy()
    assert directions.shape == (generator.w_dim, generator.w_dim)
    deviations = np.linalg.norm(directions, axis=1)
    np.testing.assert_allclose(deviations[:8], sizes[:8] / len(w) ** 0.5, rtol=0.02)
    # Neighbours in variance are hardly told apart by samples; those that stand out are compared.
    gaps = deviations[:-1] / deviations[1:]
    compared = [i for i in range(8) if gaps[i] > 1.1 and (i == 0 or gaps[i - 1] > 1.1)]
    assert compared
    for i in compared:
        assert abs(rows[i] @ directions[i]) / deviations[i] > 0.98
    for row in directions:
        assert row[np.abs(row).argmax()] > 0
    # A step of 1 along a component is one standard deviation of the samples' projections on it.
    unit = directions[0] / deviations[0]
    assert (w @ unit).std() == pytest.approx(deviations[0], rel=0.02)


def test_steps(generator64, make_latents):
    latents = make_latents(generator64, "w+", 2)
    vector = principal_directions(generator64)[2]
    edit = editing.get("direction")
    moved = edit(generator64, latents, direction="pca:3", strength=-1.5, layers="2-4")
    expected = latents.code.clone()
    expected[:, 2:5] += -1.5 * vector
    torch.testing.assert_close(moved.code, expected)
    everywhere = edit(generator64, latents, direction="pca:3", strength=1)
    torch.testing.assert_close(everywhere.code, latents.code + vector)
    again = edit(generator64, everywhere, direction="pca:3", strength=-1)
    torch.testing.assert_close(again.code, latents.code)
    single = edit(generator64, make_latents(generator64, "z"), direction="pca:1")
    assert single.space == "w+"


@pytest.mark.parametrize("space", ["s", "f/s"])
def test_styles_move_as_those_of_the_moved_codes(generator64, make_latents, space):
    """S of w + step, from S of w."""
    in_w = make_latents(generator64, "w+", 2)
    latents = make_latents(generator64, space, 2)
    s = stylegan.spaces.SPACES["s"]
    latents = latents.with_tensors(
        latents.tensors() | {"code": s.from_w_plus(generator64, in_w.code)}
    )
    edit = editing.get("direction")
    parameters = {"direction": "pca:3", "strength": 1.5, "layers": "2-5"}
    moved = edit(generator64, latents, **parameters)
    expected = s.from_w_plus(generator64, edit(generator64, in_w, **parameters).code)
    assert moved.space == space
    torch.testing.assert_close(moved.code, expected)


def test_features_stay_without_a_transport_and_follow_with_one(
    generator64, make_latents, transport
):
    latents = make_latents(generator64, "f/z+", 2)
    edit = editing.get("direction")
    kept = edit(generator64, latents, direction="pca:2")
    assert kept.space == "f/w+"
    assert torch.equal(kept.feature, latents.feature)
    moved = edit(generator64, latents, direction="pca:2", transport=transport)
    torch.testing.assert_close(moved.code, kept.code)
    ws = transport.in_domain_ws(generator64, latents)
    step = 2 * principal_directions(generator64)[1]
    before, after = (generator64.synthesize(x, stop=transport.layer).x for x in (ws, ws + step))
    torch.testing.assert_close(moved.feature, 1.1 * latents.feature + 2 * (after - before))


def test_files(generator64, make_latents, tmp_path):
    latents = make_latents(generator64, "w+")
    rng = np.random.default_rng(0)
    one, many = rng.normal(size=generator64.w_dim), rng.normal(size=latents.code.shape[1:])
    np.save(tmp_path / "one.npy", one.astype(np.float32))
    save_file({"smile": torch.from_numpy(many)}, tmp_path / "many.safetensors")
    edit = editing.get("direction")
    moved = edit(generator64, latents, direction=str(tmp_path / "one.npy"), strength=2)
    torch.testing.assert_close(
        moved.code, latents.code + 2 * torch.from_numpy(one), rtol=0, atol=1e-6
    )
    moved = edit(generator64, latents, direction=str(tmp_path / "many.safetensors"), strength=1)
    torch.testing.assert_close(moved.code, latents.code + torch.from_numpy(many))


def test_no_such_direction(generator, tmp_path):
    np.save(tmp_path / "short.npy", np.zeros(3))
    np.save(tmp_path / "nan.npy", np.full(generator.w_dim, np.nan))
    np.save(tmp_path / "text.npy", np.array(["a"] * generator.w_dim))
    (tmp_path / "broken.npy").write_text("nothing")
    save_file({"a": torch.zeros(2), "b": torch.zeros(2)}, tmp_path / "two.safetensors")
    for text, error, message in (
        ("pca:0", ValueError, 'got "pca:0", expected pca:1 to pca:32'),
        ("pca:33", ValueError, "expected pca:1 to pca:32"),
        ("pca:x", ValueError, "expected pca:1 to pca:32"),
        ("smile", FileNotFoundError, 'there is no file "smile"; expected pca:1, pca:2'),
        (tmp_path / "short.npy", ValueError, r"of the shape \(3,\); a direction of this generator"),
        (tmp_path / "nan.npy", ValueError, "numbers that are not finite"),
        (tmp_path / "text.npy", ValueError, "no .npy file of numbers"),
        (tmp_path / "broken.npy", ValueError, "no .npy file of numbers"),
        (tmp_path / "two.safetensors", ValueError, r"holds 2 tensors \(a, b\); expected a file"),
    ):
        with pytest.raises(error, match=message):
            read_direction(generator, str(text))
    latents = stylegan.init_latents(generator, "w+", 1)
    with pytest.raises(ValueError, match="expected style inputs from 0 to 7"):
        editing.get("direction")(generator, latents, layers="9")
