"""The reenactment recipes: their terms, and whether faces take on landmarks."""

import math

import pytest
import torch
import torch.nn.functional as F

from facsimile import data, metrics
from facsimile.commands.train import WRONG_USE, main
from facsimile.data.landmarks import Landmarks
from facsimile.encoders.difference.critics import ConcatCritic, ProjectionCritic
from facsimile.encoders.difference.eval_grid import EvalGrid
from facsimile.encoders.difference.faces import detect_landmarks
from facsimile.encoders.difference.landmark_cnn import render_landmarks
from facsimile.training import BatchSlice


class Spot:
    """Detects a face about the brightest place of every image; 36 and 45 are 8 px apart."""

    name = note = "spot"

    def __init__(self):
        self.network = torch.nn.Identity()
        self.face = 2 * torch.randn(68, 2, generator=torch.Generator().manual_seed(0))
        self.face[36], self.face[45] = torch.tensor([[-4.0, 0.0], [4.0, 0.0]])

    def __call__(self, images):
        side = images.shape[-1]
        weights = (4 * images.mean(1).flatten(1)).softmax(1).unflatten(1, (side, side))
        middle = torch.arange(side).to(images) + 0.5
        places = torch.stack([weights.sum(1) @ middle, weights.sum(2) @ middle], 1)
        score = torch.ones(len(images))
        return Landmarks(places[:, None] + self.face.to(images), score, score > 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        ("difference", 100),
        pytest.param("keypoint", 60, marks=pytest.mark.exhaustive),
        pytest.param("naive", 50, marks=pytest.mark.exhaustive),
    ],
)
def test_faces_take_on_landmarks(make_recipe, train_step, kind, steps):
    """The spot moves to the other's place: less than half of the distance is left."""
    flags = {"landmark_weight": 1.0, "adversarial_weight": 0.0, "perceptual": "none"}
    if kind != "naive":
        flags |= {"cycle_input": "latent", "cycle_weight": 0.1, "source_landmark_weight": 1.0}
    recipe = make_recipe(
        kind, **flags, batch=16, bn_group_size=16, width=8, lr=0.003, ema_images=200, eval_images=48
    )
    recipe.landmarker = Spot()
    for step in range(steps):
        train_step(recipe, step, 16)
    scores = recipe.evaluate()
    assert scores["samples/nme ratio"] < 0.5
    if kind != "naive":
        # With its own landmarks a face stays: the error is a tenth of that to other faces.
        images = next(recipe._eval_batches("samples", 16))[0]
        to_others = metrics.mse(images, images.roll(1, 0)).mean()
        assert scores["samples/mse source landmarks"] < 0.1 * to_others


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", [ProjectionCritic, pytest.param(ConcatCritic, marks=pytest.mark.exhaustive)]
)
def test_critics_learn_which_landmarks(make_discriminator, form):
    """A spot with the landmarks about it, or with those of another."""
    discriminator = make_discriminator(16, 8)
    sizes = () if form is ConcatCritic else (8, 32, 32)
    critic = form(discriminator, *sizes)
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.003, betas=(0.9, 0.99))
    middle = torch.arange(16) + 0.5
    grid = torch.stack(torch.meshgrid(middle, middle, indexing="xy"), 2)
    face, correct = 6 * torch.rand(1, 68, 2), []
    for _ in range(120):
        places = 10 * torch.rand(32, 1, 2)
        distance = (grid - places[:, :, None] - 3).square().sum(3)
        images = (2 * (-distance / 8).exp() - 1)[:, None].expand(-1, 3, -1, -1)
        embedding = critic.embed_landmarks(render_landmarks(face + places, 16, 16))
        matching, others = critic(images, embedding), critic(images, embedding.roll(1, 0))
        optimizer.zero_grad()
        (F.softplus(-matching).mean() + F.softplus(others).mean()).backward()
        optimizer.step()
        correct.append((matching > others).float().mean())
    assert torch.stack(correct[-20:]).mean() > 0.8


# The terms ----------------------------------------------------------------------------------------


def assert_terms(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, msg=name)


@pytest.mark.parametrize("cycle", ["latent", "image"])
@pytest.mark.parametrize("cycle_input", ["image", "latent"])
@pytest.mark.parametrize("embed", ["true", "encoder"])
def test_losses_by_hand(make_recipe, losses_of, cycle, cycle_input, embed):
    """Every term by its formula, in float64."""
    recipe = make_recipe(
        "difference",
        **{"cycle": cycle, "cycle_input": cycle_input, "embed": embed, "cycle_weight": 3.0},
        **{
            "precision": "fp64",
            "source_landmark_weight": 0.7,
            "landmark_weight": 0.3,
            "r1_gamma": 10.0,
        },
    )
    batch = BatchSlice(0, 0, 4)
    x, landmarks, ws, *_ = recipe.forward(batch).faces
    w = ws if embed == "true" else recipe.embedder(x)
    order = [0, 2, 3, 1]
    encoder, synthesize = recipe.encoder, recipe.generator.synthesize
    w_hat = encoder(w, landmarks[order])
    x_hat = synthesize(w_hat)
    w_cyc = encoder(recipe.embedder(x_hat) if cycle_input == "image" else w_hat, landmarks)
    x_cyc = synthesize(w_cyc)
    rendered = data.draw_landmarks(landmarks, 16, 16)
    critic = recipe.critic

    def logits(image, c):
        return critic(image, critic.embed_landmarks(c))

    def adversarial(image, c):
        return 0.2 * (1 + (-logits(image, c)).exp()).log().mean()

    detected = detect_landmarks(recipe.landmarker, x_hat).points
    error = (detected - landmarks[order]).norm(dim=2).mean(1)
    eye_distance = (landmarks[order][:, 36] - landmarks[order][:, 45]).norm(dim=1)
    expected = {
        "encoder/adversarial": adversarial(x_hat, rendered[order]),
        "encoder/cycle adversarial": adversarial(x_cyc, rendered),
        "encoder/landmarks": 0.3 * (error / eye_distance).mean(),
        "encoder/unchanged": 0.7 * (w_hat - w)[0].square().mean(),
    }
    if cycle == "latent":
        expected["encoder/cycle latent"] = 3 * (w_cyc - w).square().mean()
    else:
        phi = [recipe.perceptual.features(image) for image in (x_cyc, x)]
        expected["encoder/cycle pixel"] = 3 * (x_cyc - x).square().mean()
        expected["encoder/cycle perceptual"] = 3 * 0.8 * metrics.distance(*phi).mean()
    assert_terms(losses_of(recipe, "encoder", batch), expected)
    real = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(logits(real, rendered).sum(), real)
    expected = {
        "critic/fake": (1 + logits(x_hat, rendered[order]).exp()).log().mean(),
        "critic/real": (1 + (-logits(x, rendered)).exp()).log().mean(),
        "critic/r1": 10 / 2 * 2 * gradient.square().sum() / 4,  # every second step
    }
    assert_terms(losses_of(recipe, "critic", batch), expected)


@pytest.mark.parametrize("kind", ["difference", "naive"])
def test_identity_term(make_recipe, losses_of, kind):
    """The squared distance of the embeddings of a face and of its reenactment, by its formula."""
    recipe = make_recipe(kind, identity_weight=0.5, precision="fp32", cycle_weight=0.0)
    batch = BatchSlice(0, 0, 4)
    shared = recipe.forward(batch)
    a, b = (metrics.build_identity("dlib").embed(x) for x in (shared.image, shared.faces.image))
    expected = 0.5 * (a - b).square().sum(1).mean()
    assert expected > 1e-3
    actual = losses_of(recipe, "encoder", batch)["encoder/identity"]
    torch.testing.assert_close(actual, expected)


def test_the_papers_terms_alone(make_recipe, losses_of):
    """They are the default; the naive encoder has its photo and two cycle terms more."""
    plain = {"landmark_weight": 0.0, "perceptual": "none"}
    batch, names = BatchSlice(0, 0, 4), {"encoder/adversarial", "encoder/cycle adversarial"}
    for changes, more in (
        ({"cycle_weight": 1.0}, {"encoder/cycle latent"}),
        ({"cycle_weight": 0.0}, set()),
    ):
        recipe = make_recipe("difference", source_landmark_weight=0.0, **plain, **changes)
        assert losses_of(recipe, "encoder", batch).keys() == names | more
    recipe = make_recipe("naive", reconstruction_weight=0.5, **plain)
    more = {"encoder/source adversarial", "encoder/cycle pixel", "encoder/pixel"}
    assert losses_of(recipe, "encoder", batch).keys() == names | more


def test_features_of_the_naive_encoders_photo_are_computed_once(make_recipe):
    """Two terms compare with them; each is what it would be alone."""
    recipe = make_recipe("naive", landmark_weight=0.0, reconstruction_weight=0.5)
    batch, images = BatchSlice(0, 0, 4), []
    shared = recipe.forward(batch)
    condition = recipe._critic_embedding(shared.faces.landmarks)
    alone = recipe._cycle_losses(shared, condition, compares_images=True)
    alone |= recipe._source_losses(shared, condition, None)
    features = recipe.perceptual.features
    recipe.perceptual.features = lambda image: (images.append(image), features(image))[1]
    losses = recipe.losses("encoder", batch, shared)
    assert len(images) == 3
    assert sum(torch.equal(image, shared.faces.image) for image in images) == 1
    for name in ("encoder/cycle perceptual", "encoder/perceptual"):
        assert losses[name] > 0
        torch.testing.assert_close(losses[name], alone[name], msg=name)


@pytest.mark.parametrize("kind", ["difference", "keypoint", "naive"])
def test_every_weight_has_a_gradient(make_recipe, train_step, kind):
    """In the second step, as the critic ignores the landmarks in the first."""
    recipe = make_recipe(kind, lr=0.003)
    for step in range(2):
        train_step(recipe, step, 4)
    for trainable in recipe.trainables:
        for name, weight in trainable.module.named_parameters():
            assert weight.grad.abs().sum() > 0, f"{trainable.name} {name}"
    frozen = [recipe.generator, recipe.landmarker.network]
    frozen += [recipe.embedder] if kind != "naive" else []
    assert not any(x.requires_grad for network in frozen for x in network.parameters())


def test_learning_rates(make_recipe):
    """The critic's falls as the encoder's."""
    recipe = make_recipe("difference", lr=0.5, critic_lr=0.1, lr_decay_images=8, batch=4)
    assert recipe.learning_rates(8) == pytest.approx({"critic": 0.08, "encoder": 0.4})


def test_bf16_is_close_to_fp32(make_recipe, losses_of):
    """Of one network and one batch, every term."""
    terms = {}
    for precision in ("fp32", "bf16"):
        recipe = make_recipe("difference", precision=precision, batch=16, width=8)
        losses = losses_of(recipe, "encoder", BatchSlice(0, 0, 16))
        assert all(value.dtype == torch.float32 for value in losses.values())
        terms[precision] = {name: float(value.detach()) for name, value in losses.items()}
    assert terms["bf16"] == pytest.approx(terms["fp32"], rel=0.1)


# Evaluation ---------------------------------------------------------------------------------------


def test_eval_grid():
    image = torch.linspace(-1, 1, 2)[:, None, None, None].expand(2, 1, 16, 16)
    spot = Spot()
    landmarks = torch.stack([spot.face, spot.face + torch.tensor([0.0, 4.0])])
    grid = EvalGrid(image, landmarks, image, image + 0.1, image, image, torch.tensor([1.0, 2.0]))
    errors = grid.measures(spot)
    torch.testing.assert_close(errors["mse source landmarks"], torch.tensor([0.01, 0.01]))
    torch.testing.assert_close(errors["nme source"], torch.tensor([0.5, 0.5]))  # 4 of 8 px
    expected = (spot(image).points - landmarks.flip(0)).norm(dim=2).mean(1) / 8
    torch.testing.assert_close(errors["nme"], expected)
    assert errors["mse source code"].tolist() == [0, 0]
    assert "mse source code" not in grid._replace(source=None).measures(spot)
    assert errors["cycle"].tolist() == [1, 2]
    images = grid.rows()
    assert len(images) == 16
    assert all(x.shape == (3, 16, 16) for x in images)
    assert torch.equal(images[0], images[11])  # the first face is the second's next
    assert torch.equal(images[1], images[12])


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("difference", {"bn_group_size": 1}, "--bn-group-size is 1; it must be at least 2"),
        ("difference", {"num_samples": 1}, "--num-samples is 1; it must be at least 2"),
        ("difference", {"source_landmark_share": 0.9}, "of a group of 4 these are 4 faces, and"),
        (
            "difference",
            {"source_landmark_weight": -1},
            "--source-landmark-weight is -1.0; it must be at least 0",
        ),
        ("difference", {"per_layer_w_mix": 1.5}, "--per-layer-w-mix is 1.5; it must be between 0"),
        ("naive", {"landmark_file": "x.npz"}, "--landmark-file has landmarks of photos, and there"),
        ("naive", {"adversarial_weight": 0, "landmark_weight": 0}, "no term asks for the target"),
    ],
)
def test_impossible_settings(tmp_path, arguments, capsys, kind, changes, message):
    with pytest.raises(SystemExit) as exit_info:
        main(arguments(kind, tmp_path / "run", **changes))
    assert exit_info.value.code == WRONG_USE
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_wrong_use(tmp_path, arguments, networks, pictures, make_encoder, folder, capsys):
    conditional, bare = networks(c_dim=3), tmp_path / "bare"
    bare.mkdir()
    for name in ("generator.safetensors", "discriminator.safetensors"):
        (bare / name).write_bytes((folder / name).read_bytes())
    for kind, changes, message in (
        ("difference", {"generator": bare}, "without one with --embed true --cycle-input latent"),
        ("difference", {"generator": bare, "cycle_input": "latent", "embed": "encoder"}, "needed"),
        ("naive", {"generator": bare, "data": "nowhere"}, "nowhere: no such file or folder"),
        ("naive", {"generator": conditional, "data": pictures}, "labels, and photos have none"),
        ("difference", {"in_domain": tmp_path / "no.safetensors"}, "no.safetensors does not exist"),
        ("difference", {"landmark_network": folder / "generator.safetensors"}, "landmark network"),
        ("difference", {"landmark_network": "nowhere"}, "nowhere does not exist"),
        ("difference", {"resolution": 24}, "resolution is 24; it must be a power of two"),
        ("difference", {"batch": 6}, "groups of 4 images that share their statistics"),
    ):
        assert main(arguments(kind, tmp_path / "run", **changes)) == WRONG_USE
        assert message in " ".join(capsys.readouterr().err.split())
    # Without an in-domain encoder, on samples.
    flags = {"generator": bare, "cycle_input": "latent", "images": 8}
    assert main(arguments("difference", tmp_path / "run", **flags)) == 0


def test_no_face_is_detected(make_recipe, pictures, monkeypatch):
    def no_faces(self, images):
        score = torch.zeros(len(images))
        return Landmarks(torch.full((len(images), 68, 2), math.nan), score, score > 0)

    monkeypatch.setattr(data.landmarks.SmallLandmarker, "__call__", no_faces)
    with pytest.raises(ValueError, match="no face is detected in any of 16 samples of "):
        make_recipe("difference")
    with pytest.raises(ValueError, match="no face is detected in any of 23 photos"):
        make_recipe("naive", data=(str(pictures),))
