"""The reenactment recipes: training faces, terms, and whether faces take on landmarks."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from facsimile import data, encoders, metrics
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
@pytest.mark.parametrize(("kind", "steps"), [("difference", 100), ("keypoint", 60), ("naive", 50)])
def test_faces_take_on_landmarks(make_recipe, train_step, kind, steps):
    """The spot moves to the other's place: less than half of the distance is left."""
    flags = {"landmark_weight": 1.0, "adversarial_weight": 0.0, "perceptual": "none"}
    if kind != "naive":
        flags |= {"cycle_input": "latent", "cycle_weight": 0.1, "identity_weight": 1.0}
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
@pytest.mark.parametrize("form", [ProjectionCritic, ConcatCritic])
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


# Training faces -----------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [0.0, 1.0])
def test_targets(make_recipe, identity):
    """The next face of the group; with --identity-weight some are their own targets."""
    recipe = make_recipe("difference", identity_weight=identity, source_landmark_share=0.5)
    whole = recipe.forward(BatchSlice(1, 64, 16))
    halves = [recipe.forward(BatchSlice(1, start, 8)) for start in (64, 72)]
    groups = [half.target[number::2] // 2 for half in halves for number in range(2)]
    assert torch.equal(interleave_groups(groups), whole.target // 4)
    order = [0, 1, 3, 2] if identity else [1, 2, 3, 0]
    assert all(group.tolist() == order for group in groups)
    codes = [half.code[number::2] for half in halves for number in range(2)]
    assert (interleave_groups(codes) - whole.code).abs().max() < 1e-5


def test_naive_steps_alternate(make_recipe, losses_of):
    """Without a cycle even steps are for the source's landmarks, and alone compare images."""
    recipe = make_recipe("naive", cycle="none")
    even, odd = (losses_of(recipe, "encoder", BatchSlice(i, 0, 4)).keys() for i in (0, 1))
    assert even - odd == {"encoder/pixel", "encoder/perceptual"}
    assert odd == {"encoder/adversarial", "encoder/landmarks"}
    assert recipe._targets(BatchSlice(2, 0, 4)).tolist() == [0, 1, 2, 3]


def test_samples_without_a_face():
    """Each is drawn again until a face is detected, or up to the last attempt, by itself."""

    class Half:
        def __call__(self, images):
            score = images[:, 0, 0, 0]
            return Landmarks(images[:, :1, 0, :2].expand(-1, 68, -1), score, score > 0)

    numbers = torch.randn(ATTEMPTS, 40, 3, 2, generator=torch.Generator().manual_seed(1))
    numbers[:, 7] = -1.0

    def sampled(indices):
        return sample_faces(
            lambda attempt: (numbers[attempt, indices], numbers[attempt, indices, 0]),
            lambda ws: ws[:, :, None, :].expand(-1, -1, 2, -1),
            Half(),
        )

    faces, failures = sampled(torch.arange(40))
    assert failures[7] == ATTEMPTS - 1
    assert 3 < (failures == 0).sum() < 37
    for index, count in enumerate(failures.tolist()):
        assert torch.equal(faces.ws[index], numbers[count, index])
        assert torch.equal(faces.label[index], numbers[count, index, 0])
        assert torch.equal(faces.image[index, :, 0], faces.ws[index])
        assert torch.equal(faces.landmarks[index, 5], faces.ws[index, 0])
        assert index == 7 or (numbers[:count, index, 0, 0] <= 0).all() and faces.ws[index, 0, 0] > 0
    single = [sampled(torch.tensor([index]))[0].ws for index in range(40)]
    assert torch.equal(torch.cat(single), faces.ws)


def test_samples_without_a_face_are_counted(make_recipe):
    recipe = make_recipe("difference", batch=64)
    recipe.forward(BatchSlice(0, 0, 64))
    (count,) = recipe.extra_metrics().values()
    images = recipe._sample_images(recipe._codes(BatchSlice(0, 0, 64))[0])
    missing = ~detect_landmarks(recipe.landmarker, images).is_face
    assert 0 < missing.sum() < 32
    assert missing.sum() / 64 <= count < 1
    assert recipe.extra_metrics() == {}


def test_per_layer_w_mix(make_recipe):
    """Another w for every style input, with the deviation of w; 0 is one w for all."""
    batch = BatchSlice(0, 0, 512)
    flags = {"truncation_psi": 0.7, "truncation_cutoff": 99}
    plain, mixed = (make_recipe("difference", per_layer_w_mix=x, **flags) for x in (0.0, 1.0))
    one, many = plain._codes(batch)[0], mixed._codes(batch)[0]
    assert float(one.std(1).max()) < 1e-6
    share = mixed.sampler.numbers("spread", batch, torch.rand, 1, 1)[:, 0, 0]
    within = many.std(1).mean(1)
    assert within[share < 0.1].mean() < 0.2 * within[share > 0.9].mean()
    size = [(x - plain.ema.mean).square().mean((0, 2)).sqrt() for x in (one, many)]
    assert float((size[1] / size[0] - 1).abs().max()) < 0.1
    halves = [mixed._codes(BatchSlice(0, start, 256))[0] for start in (0, 256)]
    groups = [half[number::64] for half in halves for number in range(64)]
    assert torch.equal(interleave_groups(groups), many)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten photos of 24x32 px, and landmarks of eight of them that depend on their number."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(10):
        pixels = np.full((32, 24, 3), 20 * index, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    landmarks = np.stack([np.full((68, 2), 4.0 + index) for index in range(8)])
    names = np.array([f"{index}.png" for index in range(8)])
    np.savez(folder / "landmarks.npz", names=names, landmarks=landmarks)
    return folder


@pytest.mark.parametrize("from_file", [True, False])
@pytest.mark.parametrize("kind", ["difference", "naive"])
def test_photos(make_recipe, losses_of, photos, from_file, kind):
    """With the landmarks in a file, in pixels of the crop, or with those that are detected."""
    flags = {"landmark_file": photos / "landmarks.npz"} if from_file else {}
    recipe = make_recipe(kind, data=(str(photos),), **flags)
    batch = BatchSlice(0, 0, 8)
    shared = recipe.forward(batch)
    image, landmarks, ws, _, code, _ = shared.faces
    numbers = ((image[:, 0, 0, 0] + 1) * 127.5 / 20).round()
    assert len(set(numbers.tolist())) == 8 or not from_file
    if from_file:
        # The crop begins 4 px down, and 24 px become 16.
        expected = torch.stack([(4 + numbers) * 16 / 24, numbers * 16 / 24], 1)
        torch.testing.assert_close(landmarks[:, 9], expected)
    else:
        torch.testing.assert_close(landmarks, detect_landmarks(recipe.landmarker, image).points)
    assert ws is None
    if kind == "difference":
        torch.testing.assert_close(code, recipe.embedder(image))
        assert shared.source is code
    else:
        assert code is None
        assert shared.source is image
    logits = recipe.critic(
        shared.image, recipe._critic_embedding(shared.target_landmarks), shared.faces.label
    )
    losses = losses_of(recipe, "encoder", batch)
    if code is None:  # else the targets are those in the images of the codes
        torch.testing.assert_close(losses["encoder/adversarial"], 0.2 * F.softplus(-logits).mean())


def test_code_cache(make_recipe, photos, tmp_path):
    """Codes after all iterations, read from the file the next time, refused for other photos."""
    cache = tmp_path / "cache" / "codes.safetensors"
    recipe = make_recipe("difference", data=(str(photos),), code_cache=cache)
    numbers = torch.arange(len(recipe.photos.images))
    images = recipe.photos.images.batch(numbers, torch.device("cpu"), torch.float32)
    codes = recipe.photos.codes
    expected = encoders.encode(recipe.embedder, recipe.generator, images)
    torch.testing.assert_close(codes, expected.code)
    landmarks = detect_landmarks(recipe.landmarker, expected.synthesize(recipe.generator)).points
    torch.testing.assert_close(recipe.photos.code_landmarks, landmarks)
    metadata, tensors = files.read_tensors(cache)
    files.write_tensors(cache, {name: x + 1 for name, x in tensors.items()}, metadata)
    again = make_recipe("difference", data=(str(photos),), code_cache=cache)
    assert torch.equal(again.photos.codes, codes + 1)
    assert torch.equal(again.photos.code_landmarks, recipe.photos.code_landmarks + 1)
    others = (str(photos / "0.png"), str(photos / "1.png"))
    with pytest.raises(ValueError, match="give another --code-cache"):
        make_recipe("difference", data=others, code_cache=cache)


def test_photos_stay_with_the_landmarks_of_their_codes(make_recipe, losses_of, photos):
    """With those of the photo the source would move, as its code does not reproduce it exactly."""
    flags = {"identity_weight": 1.0, "source_landmark_share": 0.5, "cycle_input": "latent"}
    recipe = make_recipe("difference", data=(str(photos),), precision="fp64", **flags)
    flipped = recipe.photos.landmarks.flip(2)
    recipe.photos = replace(recipe.photos, code_landmarks=flipped)
    batch = BatchSlice(0, 0, 4)
    shared = recipe.forward(batch)
    landmarks, own = shared.faces.landmarks, shared.faces.code_landmarks
    assert shared.target.tolist() == [0, 1, 3, 2]
    targets = torch.stack([own[0], own[1], landmarks[3], landmarks[2]])
    assert torch.equal(shared.target_landmarks, targets)
    encoder = recipe.encoder
    torch.testing.assert_close(shared.embedding, encoder.embed_landmarks(own))
    code = encoder.predict(shared.source, encoder.embed_landmarks(targets))
    torch.testing.assert_close(shared.code, code)
    losses = losses_of(recipe, "encoder", batch)
    back = encoder.predict(shared.code, shared.embedding)
    error = (back - shared.source).square().mean()
    torch.testing.assert_close(losses["encoder/cycle latent"], error)
    with torch.no_grad():
        logits = recipe.critic(shared.image, recipe._critic_embedding(targets), None)
    torch.testing.assert_close(losses["encoder/adversarial"], 0.2 * F.softplus(-logits).mean())


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
        **{"precision": "fp64", "identity_weight": 0.7, "landmark_weight": 0.3, "r1_gamma": 10.0},
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
        "encoder/identity": 0.7 * (w_hat - w)[0].square().mean(),
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


def test_the_papers_terms_alone(make_recipe, losses_of):
    """They are the default; the naive encoder has its photo and two cycle terms more."""
    plain = {"landmark_weight": 0.0, "perceptual": "none"}
    batch, names = BatchSlice(0, 0, 4), {"encoder/adversarial", "encoder/cycle adversarial"}
    for changes, more in (
        ({"cycle_weight": 1.0}, {"encoder/cycle latent"}),
        ({"cycle_weight": 0.0}, set()),
    ):
        recipe = make_recipe("difference", identity_weight=0.0, **plain, **changes)
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
        ("difference", {"identity_weight": -1}, "--identity-weight is -1.0; it must be at least 0"),
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
