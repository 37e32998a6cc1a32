"""What the recipes with landmarks train on, their terms, and that faces take on other landmarks."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from facsimile import checkpoints, data, encoders, metrics
from facsimile.commands.train import WRONG_USE, main
from facsimile.data.landmarks import Landmarks
from facsimile.encoders.difference.critics import ConcatCritic, ProjectionCritic
from facsimile.encoders.difference.eval_grid import EvalGrid
from facsimile.encoders.difference.faces import ATTEMPTS, detect_landmarks, sample_faces
from facsimile.encoders.difference.landmark_cnn import render_landmarks
from facsimile.stylegan import files
from facsimile.training import BatchSlice
from facsimile.training.keyed_sampler import interleave_groups


class Spot:
    """Sees a face about the brightest place of every image, in which 36 and 45 are 8 px apart."""

    name = note = "spot"

    def __init__(self):
        self.network = torch.nn.Identity()
        self.face = 2 * torch.randn(68, 2, generator=torch.Generator().manual_seed(0))
        self.face[36], self.face[45] = torch.tensor([[-4.0, 0.0], [4.0, 0.0]])

    def __call__(self, images):
        side = images.shape[-1]
        bright = (4 * images.mean(1).flatten(1)).softmax(1).unflatten(1, (side, side))
        middle = torch.arange(side).to(images) + 0.5
        places = torch.stack([bright.sum(1) @ middle, bright.sum(2) @ middle], 1)
        score = torch.ones(len(images))
        return Landmarks(places[:, None] + self.face.to(images), score, score > 0)


def step(recipe, place):
    """What the loop of train.py does."""
    for trainable in recipe.trainables:
        trainable.optimizer.zero_grad()
        losses = recipe.losses(trainable.name, place)
        sum(losses.values()).backward(inputs=list(trainable.module.parameters()))
        trainable.optimizer.step()
    recipe.on_step_end(place)


@pytest.mark.parametrize(("kind", "steps"), [("difference", 100), ("keypoint", 60), ("naive", 50)])
def test_faces_take_on_landmarks(make_recipe, kind, steps):
    """The spot goes to where the other's was: less than half of the way is left."""
    told = {"landmark_weight": 1.0, "adversarial_weight": 0.0, "perceptual": "none"}
    if kind != "naive":
        told |= {"cycle_input": "latent", "cycle_weight": 0.1, "identity_weight": 1.0}
    recipe = make_recipe(
        kind, **told, batch=16, bn_group_size=16, width=8, lr=0.003, ema_images=200, eval_images=48
    )
    recipe.landmarker = Spot()
    for index in range(steps):
        step(recipe, BatchSlice(index, 16 * index, 16))
    found = recipe.evaluate()
    assert found["samples/way left"] < 0.5
    if kind != "naive":
        # With its own landmarks a face stays: of other faces it is a tenth as far as these are.
        images = next(recipe._held("samples", 16))[0]
        assert found["samples/mse own"] < 0.1 * metrics.mse(images, images.roll(1, 0)).mean()


@pytest.mark.parametrize("form", [ProjectionCritic, ConcatCritic])
def test_critics_learn_which_landmarks(make_discriminator, form):
    """A spot with the landmarks about it, or with those of another."""
    own = make_discriminator(16, 8)
    critic = ConcatCritic(own) if form is ConcatCritic else ProjectionCritic(own, 8, 32, 32)
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.003, betas=(0.9, 0.99))
    middle = torch.arange(16) + 0.5
    grid = torch.stack(torch.meshgrid(middle, middle, indexing="xy"), 2)
    face, right = 6 * torch.rand(1, 68, 2), []
    for _ in range(120):
        places = 10 * torch.rand(32, 1, 2)
        far = (grid - places[:, :, None] - 3).square().sum(3)
        images = (2 * (-far / 8).exp() - 1)[:, None].expand(-1, 3, -1, -1)
        told = critic.embed_landmarks(render_landmarks(face + places, 16, 16))
        fits, others = critic(images, told), critic(images, told.roll(1, 0))
        optimizer.zero_grad()
        (F.softplus(-fits).mean() + F.softplus(others).mean()).backward()
        optimizer.step()
        right.append((fits > others).float().mean())
    assert torch.stack(right[-20:]).mean() > 0.8


# What is drawn ------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [0.0, 1.0])
def test_targets(make_recipe, identity):
    """The next face of the group, wherever that is; with --identity-weight some keep theirs."""
    recipe = make_recipe("difference", identity_weight=identity, source_landmark_share=0.5)
    whole = recipe._moved(BatchSlice(1, 64, 16))
    halves = [recipe._moved(BatchSlice(1, first, 8)) for first in (64, 72)]
    groups = [half.target[number::2] // 2 for half in halves for number in range(2)]
    assert torch.equal(interleave_groups(groups), whole.target // 4)
    order = [0, 1, 3, 2] if identity else [1, 2, 3, 0]
    assert all(group.tolist() == order for group in groups)
    codes = [half.code[number::2] for half in halves for number in range(2)]
    assert (interleave_groups(codes) - whole.code).abs().max() < 1e-5


def test_naive_steps_alternate(make_recipe):
    """Without a cycle even steps are for own landmarks, and alone compare images."""
    recipe = make_recipe("naive", cycle="none")
    even, odd = (recipe.losses("encoder", BatchSlice(i, 0, 4)).keys() for i in (0, 1))
    assert even - odd == {"encoder/pixel", "encoder/perceptual"}
    assert odd == {"encoder/adversarial", "encoder/landmarks"}
    assert recipe._targets(BatchSlice(2, 0, 4)).tolist() == [0, 1, 2, 3]


def test_samples_without_a_face():
    """Each is drawn anew until there is one, or the attempts are over; the others do not matter."""

    class Half:
        def __call__(self, images):
            score = images[:, 0, 0, 0]
            return Landmarks(images[:, :1, 0, :2].expand(-1, 68, -1), score, score > 0)

    numbers = torch.randn(ATTEMPTS, 40, 3, 2, generator=torch.Generator().manual_seed(1))
    numbers[:, 7] = -1.0

    def drawn(which):
        return sample_faces(
            lambda attempt: (numbers[attempt, which], numbers[attempt, which, 0]),
            lambda ws: ws[:, :, None, :].expand(-1, -1, 2, -1),
            Half(),
        )

    faces, failed = drawn(torch.arange(40))
    assert failed[7] == ATTEMPTS - 1
    assert 3 < (failed == 0).sum() < 37
    for index, count in enumerate(failed.tolist()):
        assert torch.equal(faces.ws[index], numbers[count, index])
        assert torch.equal(faces.label[index], numbers[count, index, 0])
        assert torch.equal(faces.image[index, :, 0], faces.ws[index])
        assert torch.equal(faces.points[index, 5], faces.ws[index, 0])
        assert index == 7 or (numbers[:count, index, 0, 0] <= 0).all() and faces.ws[index, 0, 0] > 0
    alone = [drawn(torch.tensor([index]))[0].ws for index in range(40)]
    assert torch.equal(torch.cat(alone), faces.ws)


def test_they_are_counted(make_recipe):
    recipe = make_recipe("difference", batch=64)
    recipe._moved(BatchSlice(0, 0, 64))
    (count,) = recipe.extra_metrics().values()
    images = recipe._photo(recipe._codes(BatchSlice(0, 0, 64))[0])
    missing = ~detect_landmarks(recipe.landmarker, images).is_face
    assert 0 < missing.sum() < 32
    assert missing.sum() / 64 <= count < 1
    assert recipe.extra_metrics() == {}


def test_spread_codes(make_recipe):
    """Of every style input another w, as far from the mean as one w for all; 0 is as it was."""
    place = BatchSlice(0, 0, 512)
    told = {"truncation_psi": 0.7, "truncation_cutoff": 99}
    plain, spread = (make_recipe("difference", per_layer_w_mix=x, **told) for x in (0.0, 1.0))
    one, many = plain._codes(place)[0], spread._codes(place)[0]
    assert float(one.std(1).max()) < 1e-6
    share = spread.sampler.numbers("spread", place, torch.rand, 1, 1)[:, 0, 0]
    within = many.std(1).mean(1)
    little, much = within[share < 0.1].mean(), within[share > 0.9].mean()
    assert little < 0.2 * much
    size = [(x - plain.ema.mean).square().mean((0, 2)).sqrt() for x in (one, many)]
    assert float((size[1] / size[0] - 1).abs().max()) < 0.1
    halves = [spread._codes(BatchSlice(0, first, 256))[0] for first in (0, 256)]
    groups = [half[number::64] for half in halves for number in range(64)]
    assert torch.equal(interleave_groups(groups), many)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten photos of 24x32 px, and landmarks of eight of them that say which it is."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(10):
        pixels = np.full((32, 24, 3), 20 * index, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    landmarks = np.stack([np.full((68, 2), 4.0 + index) for index in range(8)])
    names = np.array([f"{index}.png" for index in range(8)])
    np.savez(folder / "landmarks.npz", names=names, landmarks=landmarks)
    return folder


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("kind", ["difference", "naive"])
def test_photos(make_recipe, photos, named, kind):
    """With the landmarks that a file names, in pixels of the crop; or with those that are seen."""
    told = {"landmark_file": photos / "landmarks.npz"} if named else {}
    recipe = make_recipe(kind, data=(str(photos),), **told)
    moved = recipe._moved(BatchSlice(0, 0, 8))
    image, points, ws, _, code, _ = moved.faces
    which = ((image[:, 0, 0, 0] + 1) * 127.5 / 20).round()
    assert len(set(which.tolist())) == 8 or not named
    if named:
        # The crop begins 4 px down, and 24 px become 16.
        wanted = torch.stack([(4 + which) * 16 / 24, which * 16 / 24], 1)
        torch.testing.assert_close(points[:, 9], wanted)
    else:
        torch.testing.assert_close(points, detect_landmarks(recipe.landmarker, image).points)
    assert ws is None
    if kind == "difference":
        torch.testing.assert_close(code, recipe.embedder(image))
        assert moved.source is code
    else:
        assert code is None
    assert recipe.losses("encoder", BatchSlice(0, 0, 8))["encoder/adversarial"].isfinite()


def test_codes_of_photos_are_kept(make_recipe, photos, tmp_path):
    """Found with the passes, taken from the file the next time, and refused for other photos."""
    kept = tmp_path / "kept" / "codes.safetensors"
    recipe = make_recipe("difference", data=(str(photos),), code_cache=kept)
    numbers = torch.arange(len(recipe.trained.images))
    images = recipe.trained.images.batch(numbers, torch.device("cpu"), torch.float32)
    found = recipe.trained.codes
    wanted = encoders.encode(recipe.embedder, recipe.generator, images)
    torch.testing.assert_close(found, wanted.code)
    seen = detect_landmarks(recipe.landmarker, wanted.synthesize(recipe.generator)).points
    torch.testing.assert_close(recipe.trained.seen, seen)
    held, tensors = files.read_tensors(kept)
    files.write_tensors(kept, {name: x + 1 for name, x in tensors.items()}, held)
    again = make_recipe("difference", data=(str(photos),), code_cache=kept)
    assert torch.equal(again.trained.codes, found + 1)
    assert torch.equal(again.trained.seen, recipe.trained.seen + 1)
    with pytest.raises(ValueError, match="give another --code-cache"):
        make_recipe(
            "difference", data=(str(photos / "0.png"), str(photos / "1.png")), code_cache=kept
        )


def test_photos_stay_with_the_landmarks_that_their_codes_draw(make_recipe, photos):
    """With those of the photo itself the source would move, as a code never draws quite that."""
    told = {
        "identity_weight": 1.0,
        "source_landmark_share": 0.5,
        "cycle_input": "latent",
        "precision": "fp64",
    }
    recipe = make_recipe("difference", data=(str(photos),), **told)
    recipe.trained = replace(recipe.trained, seen=recipe.trained.points.flip(2))
    place = BatchSlice(0, 0, 4)
    moved = recipe._moved(place)
    points, seen = moved.faces.points, moved.faces.seen
    assert moved.target.tolist() == [0, 1, 3, 2]
    assert torch.equal(moved.wanted, torch.stack([seen[0], seen[1], points[3], points[2]]))
    encoder = recipe.encoder
    torch.testing.assert_close(moved.told, encoder.embed_landmarks(seen))
    wanted = encoder.embed_landmarks(moved.wanted)
    torch.testing.assert_close(moved.code, encoder.predict(moved.source, wanted))
    found = recipe.losses("encoder", place)
    back = encoder.predict(moved.code, moved.told)
    apart = (back - moved.source).square().mean()
    torch.testing.assert_close(found["encoder/cycle latent"], apart)
    with torch.no_grad():
        logits = recipe.critic(
            moved.image, recipe.critic.embed_landmarks(render_landmarks(moved.wanted, 16, 16)), None
        )
    fooled = 0.2 * F.softplus(-logits).mean()
    torch.testing.assert_close(found["encoder/adversarial"], fooled)


# The terms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cycle", ["latent", "image"])
@pytest.mark.parametrize("seen", ["image", "latent"])
@pytest.mark.parametrize("embed", ["true", "encoder"])
def test_losses_by_hand(make_recipe, cycle, seen, embed):
    """Every term by its formula, in float64."""
    recipe = make_recipe(
        "difference",
        **{
            "cycle": cycle,
            "cycle_input": seen,
            "embed": embed,
            "cycle_weight": 3.0,
            "r1_gamma": 10,
        },
        **{"precision": "fp64", "identity_weight": 0.7, "landmark_weight": 0.3},
    )
    place = BatchSlice(0, 0, 4)
    x, points, ws, *_ = recipe._moved(place).faces
    w = ws if embed == "true" else recipe.embedder(x)
    order = [0, 2, 3, 1]
    encoder, draw = recipe.encoder, recipe.generator.synthesize
    w_hat = encoder(w, points[order])
    x_hat = draw(w_hat)
    w_cyc = encoder(recipe.embedder(x_hat) if seen == "image" else w_hat, points)
    x_cyc = draw(w_cyc)
    pictures = data.draw_landmarks(points, 16, 16)
    critic = recipe.critic

    def judge(image, c):
        return critic(image, critic.embed_landmarks(c))

    def fooled(image, c):
        return 0.2 * (1 + (-judge(image, c)).exp()).log().mean()

    apart = (detect_landmarks(recipe.landmarker, x_hat).points - points[order]).norm(dim=2).mean(1)
    eyes = (points[order][:, 36] - points[order][:, 45]).norm(dim=1)
    wanted = {
        "encoder/adversarial": fooled(x_hat, pictures[order]),
        "encoder/cycle adversarial": fooled(x_cyc, pictures),
        "encoder/landmarks": 0.3 * (apart / eyes).mean(),
        "encoder/identity": 0.7 * (w_hat - w)[0].square().mean(),
    }
    if cycle == "latent":
        wanted["encoder/cycle latent"] = 3 * (w_cyc - w).square().mean()
    else:
        phi = [recipe.perceptual.features(image) for image in (x_cyc, x)]
        wanted["encoder/cycle pixel"] = 3 * (x_cyc - x).square().mean()
        wanted["encoder/cycle perceptual"] = 3 * 0.8 * metrics.distance(*phi).mean()
    losses = recipe.losses("encoder", place)
    assert losses.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(losses[name], value, msg=name)
    of_critic = recipe.losses("critic", place)
    real = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(judge(real, pictures).sum(), real)
    wanted = {
        "critic/fake": (1 + judge(x_hat, pictures[order]).exp()).log().mean(),
        "critic/real": (1 + (-judge(x, pictures)).exp()).log().mean(),
        "critic/r1": 10 / 2 * 2 * slope.square().sum() / 4,  # every second step
    }
    assert of_critic.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(of_critic[name], value, msg=name)


def test_the_papers_terms_alone(make_recipe):
    """By default nothing of ours is added; the naive encoder has its photo and two ways more."""
    plain = {"landmark_weight": 0.0, "perceptual": "none"}
    found = make_recipe("difference", identity_weight=0.0, **plain)
    names = {"encoder/adversarial", "encoder/cycle adversarial"}
    place = BatchSlice(0, 0, 4)
    assert found.losses("encoder", place).keys() == names | {"encoder/cycle latent"}
    losses = make_recipe("naive", reconstruction_weight=0.5, **plain).losses("encoder", place)
    more = {"encoder/own adversarial", "encoder/cycle pixel", "encoder/pixel"}
    assert losses.keys() == names | more
    found = make_recipe("difference", identity_weight=0.0, cycle_weight=0.0, **plain)
    assert found.losses("encoder", place).keys() == names


def test_the_naive_encoders_photo_is_looked_at_once(make_recipe):
    """Two terms compare with it; they are what each would be by itself."""
    recipe = make_recipe("naive", landmark_weight=0.0, reconstruction_weight=0.5)
    place, seen = BatchSlice(0, 0, 4), []
    moved = recipe._moved(place)
    told = recipe._tell_critic(moved.faces.points)
    alone = recipe._of_cycle(moved, told, None) | recipe._of_own_landmarks(moved, told, None)
    features = recipe.perceptual.features
    recipe.perceptual.features = lambda image: (seen.append(image), features(image))[1]
    found = recipe.losses("encoder", place)
    assert len(seen) == 3
    assert sum(torch.equal(image, moved.faces.image) for image in seen) == 1
    for name in ("encoder/cycle perceptual", "encoder/perceptual"):
        assert found[name] > 0
        torch.testing.assert_close(found[name], alone[name], msg=name)


def test_every_weight_is_reached(make_recipe):
    """At the second step, as the landmarks are new to the critic at the first."""
    for kind in ("difference", "keypoint", "naive"):
        recipe = make_recipe(kind, lr=0.003)
        for index in range(2):
            step(recipe, BatchSlice(index, 4 * index, 4))
        for trainable in recipe.trainables:
            for name, weight in trainable.module.named_parameters():
                assert weight.grad.abs().sum() > 0, f"{kind} {trainable.name} {name}"
        frozen = [recipe.generator, recipe.landmarker.network]
        frozen += [] if recipe.embedder is None else [recipe.embedder]
        assert not any(x.requires_grad for network in frozen for x in network.parameters())


def test_rates(make_recipe):
    """The critic's falls as the encoder's."""
    recipe = make_recipe("difference", lr=0.5, critic_lr=0.1, lr_decay_images=8, batch=4)
    recipe._begin(BatchSlice(2, 8, 4))
    rates = [trainable.optimizer.param_groups[0]["lr"] for trainable in recipe.trainables]
    assert rates == pytest.approx([0.08, 0.4])


def test_bf16_is_near_fp32(make_recipe):
    """Of one network and one batch, every term."""
    terms = {}
    for precision in ("fp32", "bf16"):
        recipe = make_recipe("difference", precision=precision, batch=16, width=8)
        losses = recipe.losses("encoder", BatchSlice(0, 0, 16))
        assert all(value.dtype == torch.float32 for value in losses.values())
        terms[precision] = {name: float(value.detach()) for name, value in losses.items()}
    assert terms["bf16"] == pytest.approx(terms["fp32"], rel=0.1)


# What a person sees -------------------------------------------------------------------------------


def test_view():
    image = torch.linspace(-1, 1, 2)[:, None, None, None].expand(2, 1, 16, 16)
    spot = Spot()
    points = torch.stack([spot.face, spot.face + torch.tensor([0.0, 4.0])])
    grid = EvalGrid(image, points, image, image + 0.1, image, image, torch.tensor([1.0, 2.0]))
    found = grid.measures(spot)
    seen = spot(image).points
    torch.testing.assert_close(found["mse own"], torch.tensor([0.01, 0.01]))
    torch.testing.assert_close(found["nme unmoved"], torch.tensor([0.5, 0.5]))  # 4 of 8 px
    wanted = (seen - points.flip(0)).norm(dim=2).mean(1) / 8
    torch.testing.assert_close(found["nme"], wanted)
    assert found["mse unmoved"].tolist() == [0, 0]
    assert "mse unmoved" not in grid._replace(unmoved=None).measures(spot)
    assert found["cycle"].tolist() == [1, 2]
    rows = grid.rows()
    assert len(rows) == 16
    assert all(panel.shape == (3, 16, 16) for panel in rows)
    assert torch.equal(rows[0], rows[11])  # the first face is the second's next
    assert torch.equal(rows[1], rows[12])


# What cannot be -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("difference", {"bn_group_size": 1}, "--group is 1; it must be at least 2"),
        ("difference", {"num_samples": 1}, "--samples is 1; it must be at least 2"),
        (
            "difference",
            {"source_landmark_share": 0.9},
            "of a group of 4 these are 4 faces, and there must be",
        ),
        ("difference", {"identity_weight": -1}, "--identity-weight is -1.0; it must be at least 0"),
        (
            "naive",
            {"landmark_file": "x.npz"},
            "--landmark-file are landmarks of photos, and there are none",
        ),
        ("naive", {"adversarial_weight": 0, "landmark_weight": 0}, "nothing asks for the target"),
    ],
)
def test_settings_that_cannot_be(tmp_path, arguments, capsys, kind, changes, said):
    with pytest.raises(SystemExit) as left:
        main(arguments(kind, tmp_path / "run", **changes))
    assert left.value.code == WRONG_USE
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_wrong_use(tmp_path, arguments, networks, pictures, make_encoder, folder, capsys):
    labelled, bare = networks(c_dim=3), tmp_path / "bare"
    bare.mkdir()
    for name in ("generator.safetensors", "discriminator.safetensors"):
        (bare / name).write_bytes((folder / name).read_bytes())
    generator = checkpoints.find(folder).generator
    encoders.save(make_encoder("feature", generator), tmp_path / "base.safetensors")
    for kind, changes, said in (
        ("difference", {"generator": bare}, "or go without with --embed true --cycle-input latent"),
        ("difference", {"generator": bare, "cycle_input": "latent", "embed": "encoder"}, "needed"),
        ("naive", {"generator": bare, "data": "nowhere"}, "nowhere: no such file or folder"),
        ("naive", {"generator": labelled, "data": pictures}, "takes labels, and photos have none"),
        ("difference", {"in_domain": tmp_path / "no.safetensors"}, "no.safetensors does not exist"),
        ("difference", {"landmark_network": folder / "generator.safetensors"}, "is no landmark ne"),
        ("difference", {"landmark_network": "nowhere"}, "nowhere does not exist"),
        ("difference", {"resolution": 24}, "resolution is 24; it must be a power of two"),
        ("difference", {"batch": 6}, "groups of 4 images that share their statistics"),
    ):
        assert main(arguments(kind, tmp_path / "run", **changes)) == WRONG_USE
        assert said in capsys.readouterr().err
    # Without an in-domain encoder, on samples.
    told = {"generator": bare, "cycle_input": "latent", "images": 8}
    assert main(arguments("difference", tmp_path / "run", **told)) == 0


def test_nothing_shows_a_face(make_recipe, pictures, monkeypatch):
    monkeypatch.setattr(data.landmarks.SmallLandmarker, "__call__", _blind)
    with pytest.raises(ValueError, match="in none of 16 samples of .* a face is seen"):
        make_recipe("difference")
    with pytest.raises(ValueError, match="in none of 23 photos a face is seen"):
        make_recipe("naive", data=(str(pictures),))


def _blind(self, images):
    score = torch.zeros(len(images))
    return Landmarks(torch.full((len(images), 68, 2), math.nan), score, score > 0)
