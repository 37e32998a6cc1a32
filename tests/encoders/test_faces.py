"""Training faces of the reenactment recipes: samples and photos, their landmarks and codes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from facsimile import encoders
from facsimile.data.landmarks import Landmarks
from facsimile.encoders.difference.faces import ATTEMPTS, detect_landmarks, sample_faces
from facsimile.stylegan import files
from facsimile.training import BatchSlice
from facsimile.training.keyed_sampler import interleave_groups


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_targets(make_recipe, weight):
    """The next face of the group; with --source-landmark-weight some are their own targets."""
    recipe = make_recipe("difference", source_landmark_weight=weight, source_landmark_share=0.5)
    whole = recipe.forward(BatchSlice(1, 64, 16))
    halves = [recipe.forward(BatchSlice(1, start, 8)) for start in (64, 72)]
    groups = [half.target[number::2] // 2 for half in halves for number in range(2)]
    assert torch.equal(interleave_groups(groups), whole.target // 4)
    order = [0, 1, 3, 2] if weight else [1, 2, 3, 0]
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
    batch = BatchSlice(0, 0, 64)
    losses = recipe.losses("encoder", batch, recipe.forward(batch))
    assert recipe.extra_metrics() == {}
    recipe.record({name: x for name, x in losses.items() if not x.requires_grad})
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
    files.write_tensors(cache, tensors, metadata | {"version": "2"})
    with pytest.raises(ValueError, match="written by a newer version of facsimile"):
        make_recipe("difference", data=(str(photos),), code_cache=cache)


def test_photos_stay_with_the_landmarks_of_their_codes(make_recipe, losses_of, photos):
    """With those of the photo the source would move, as its code does not reproduce it exactly."""
    flags = {"source_landmark_weight": 1.0, "source_landmark_share": 0.5, "cycle_input": "latent"}
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
