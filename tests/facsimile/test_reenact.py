"""Reenactment, where a stand-in for the landmark network reads a face's pose from its brightness:
a frame of one grey has a pose of its own, and a black one no face.
"""

import json
import signal

import numpy as np
import pytest
import torch
from PIL import Image

import facsimile
from facsimile import data, metrics
from facsimile.cli import main
from facsimile.data.points68 import LINES
from facsimile.data.video import open_frames
from facsimile.data.video_writer import VideoWriter
from facsimile.editing import interpolate_landmarks, smile, yaw
from facsimile.editing.landmark_motion import relative_motion
from facsimile.inversion import Inverter
from facsimile.reenactment import Reenactment
from facsimile.reenactment.landmark_error import landmark_errors

FACE = torch.rand(68, 2, generator=torch.Generator().manual_seed(3))
MOVE = torch.rand(68, 2, generator=torch.Generator().manual_seed(4)) - 0.5
LEVELS = [60, 0, 90, 120, 150, 0, 0, 180, 210, 240, 0]


class Grey:
    name, note = "grey", "landmarks: of greys"

    def __call__(self, images):
        level = images.mean((1, 2, 3))
        points = images.shape[-1] * (FACE + 0.3 * level[:, None, None] * MOVE)
        return data.Landmarks(points, (level + 1) / 2, level > -0.9)


class Other(Grey):
    """The same, by another network."""

    network = torch.nn.Linear(1, 1)


class Blind(Grey):
    """Sees no face in one picture."""

    def __init__(self, picture):
        self.picture = picture

    def __call__(self, images):
        seen = super().__call__(images)
        same = (images - self.picture).abs().flatten(1).amax(1) < 1e-5
        return data.Landmarks(seen.points, seen.score, seen.is_face & ~same)


@pytest.fixture(scope="module")
def studio(network, moving):
    return facsimile.load(network, perceptual="none", encoders=moving, device="cpu")


@pytest.fixture
def driver(tmp_path):
    """A folder of greys; what is read from it is exact."""
    folder = tmp_path / "driver"
    folder.mkdir()
    for index, level in enumerate(LEVELS):
        Image.new("RGB", (32, 32), (level,) * 3).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def reenact(studio, squares):
    def run(driver, **options):
        options = {"landmarks": Grey(), "align": False, "source_steps": 0} | options
        return studio.reenact(squares / "0.png", driver, **options)

    return run


def pixels(folder):
    return [np.asarray(Image.open(path)).astype(int) for path in sorted(folder.iterdir())]


def test_poses_and_held_frames(reenact, driver):
    """Every frame comes, in its order; those without a face repeat the pose before."""
    found = reenact(driver, smoothing=0)
    frames = list(found)
    assert [one.driver.name for one in frames] == [f"{i}.png" for i in range(len(LEVELS))]
    assert (len(found), found.frames_without_face, found.relative) == (11, 4, True)
    own, levels = found.source.landmarks, [60, 60, 90, 120, 150, 150, 150, 180, 210, 240, 240]
    grey = torch.tensor(levels)[:, None, None] / 127.5 - 1
    poses = 32 * (FACE + 0.3 * grey * MOVE)
    expected = relative_motion(own, poses[0], poses)
    torch.testing.assert_close(torch.stack([one.landmarks for one in frames]), expected)
    assert torch.equal(frames[6].image, frames[4].image)
    assert not torch.equal(frames[3].image, frames[4].image)


def test_a_driver_that_stands_still_leaves_the_source(reenact, studio, tmp_path):
    """Its own landmarks, and so its own code, exactly; the paper's w + d is another."""
    still = tmp_path / "still"
    still.mkdir()
    for index in range(3):
        Image.new("RGB", (40, 40), (80, 80, 80)).save(still / f"{index}.png")
    found = reenact(still)
    with torch.no_grad():
        drawn = found.source.face.given.synthesize(studio.generator).clamp(-1, 1)[0]
    for one in found:
        assert torch.equal(one.landmarks, found.source.landmarks)
        torch.testing.assert_close(one.image, drawn, atol=1e-4, rtol=0)
    papers = next(iter(reenact(still, preserve_source=False)))
    assert (papers.image - drawn).abs().max() > 0.01


def test_batches_change_nothing(reenact, driver):
    runs = [torch.stack([one.image for one in reenact(driver, batch=n)]) for n in (1, 4, 50)]
    for other in runs[1:]:
        torch.testing.assert_close(runs[0], other, atol=1e-4, rtol=0)


def test_out_of_memory_halves_the_batch(reenact, driver, capsys):
    """And changes nothing else."""
    expected = torch.stack([one.image for one in reenact(driver)])
    found = reenact(driver, batch=8)
    synthesize = found.synthesize

    def small_ones_alone(landmarks):
        if len(landmarks) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return synthesize(landmarks)

    found.synthesize = small_ones_alone
    images = torch.stack([one.image for one in found])
    torch.testing.assert_close(images, expected, atol=1e-4, rtol=0)
    said = capsys.readouterr().err
    assert "out of memory: from now on 4 frames at once" in said
    assert said.count("from now on 2 frames at once") == 1


def test_memory_stays_flat(reenact, driver, monkeypatch):
    """The driver is read no further ahead than the batch under way and two more."""
    from facsimile.data import video

    read, opened = video.read_photo, []
    monkeypatch.setattr(video, "read_photo", lambda path: (opened.append(path), read(path))[1])
    moved = iter(reenact(driver, batch=1))
    next(moved)
    assert len(opened) <= 1 + 2 * 1 + 1
    moved.close()


def test_a_folder_of_results(reenact, driver, tmp_path):
    out = tmp_path / "out"
    said = reenact(driver, batch=4).save(out, pictures=True)
    names = {"reenacted.mp4", "side_by_side.mp4", "reenacted", "side_by_side", "landmarks.npz"}
    names |= {"source.png", "source.safetensors", "summary.json"}
    assert {path.name for path in out.iterdir()} == names
    assert said == json.loads((out / "summary.json").read_text())
    assert (said["frames"], said["frames_without_a_face"], said["fps"]) == (11, 4, 25)
    assert list(said["first_frames_without_a_face"]) == ["1.png", "5.png", "6.png", "10.png"]
    assert len(pixels(out / "reenacted")) == 11
    assert len(list(open_frames(out / "reenacted.mp4"))) == 11
    assert next(iter(open_frames(out / "side_by_side.mp4"))).photo.width > 3 * 256
    # Its landmarks drive another time, to the same pictures, and a saved source does too.
    again = tmp_path / "again"
    options = {"video": None}
    reenact(out / "landmarks.npz").save(again, **options)
    for one, other in zip(pixels(out / "reenacted"), pixels(again / "reenacted"), strict=True):
        assert np.abs(one - other).max() <= 1


def test_a_saved_source(reenact, studio, driver, tmp_path):
    first = reenact(driver)
    first.source.face.given.save(tmp_path / "me.safetensors")
    found = studio.reenact(tmp_path / "me.safetensors", driver, landmarks=Grey(), align=False)
    torch.testing.assert_close(found.source.face.given.code, first.source.face.given.code)
    assert len(list(found)) == 11


def test_a_video_to_a_video(reenact, tmp_path):
    with VideoWriter(tmp_path / "driver.mp4", 10) as video:
        for level in LEVELS:
            video.write(Image.new("RGB", (64, 64), (level,) * 3))
    said = reenact(tmp_path / "driver.mp4").save(tmp_path / "out.webm")
    assert (said["frames"], said["frames_without_a_face"], said["fps"]) == (11, 4, 10)
    found = open_frames(tmp_path / "out.webm")
    assert (len(list(found)), found.fps) == (11, 10)
    assert {path.name for path in tmp_path.iterdir()} >= {"driver.mp4", "out.webm"}
    assert not (tmp_path / "summary.json").exists()


def test_a_photo_and_a_morph_to_it(reenact, driver, tmp_path):
    """A single pose is taken over; a morph goes there from the source's own."""
    target = 32 * (FACE + 0.3 * (90 / 127.5 - 1) * MOVE)
    (one,) = reenact(driver / "2.png")
    torch.testing.assert_close(one.landmarks, target)
    reenact(driver / "2.png").save(tmp_path / "one")
    names = {"reenacted.png", "side_by_side.png", "source.png", "source.safetensors"}
    names |= {"landmarks.npz", "summary.json"}
    assert {path.name for path in (tmp_path / "one").iterdir()} == names
    found = reenact(driver / "2.png", frames=5)
    track = torch.stack([one.landmarks for one in found])
    torch.testing.assert_close(track, interpolate_landmarks(found.source.landmarks, target, 5))
    assert found.save(tmp_path / "five")["frames"] == 5
    assert len(list(open_frames(tmp_path / "five" / "reenacted.mp4"))) == 5


def test_a_motion_by_hand(reenact, tmp_path):
    """A single pose is taken over; several are gone through from the source's own on."""
    found = reenact("yaw:20+smile:1")
    (one,) = found
    own = found.source.landmarks
    torch.testing.assert_close(one.landmarks, yaw(smile(own[None], 1), 20)[0])
    assert (found.relative, found.smoothing) == (False, 0)
    said = found.save(tmp_path / "one")
    assert (said["driver"], said["frames"], said["frames_without_a_face"]) == (
        "yaw:20+smile:1",
        1,
        0,
    )
    assert (tmp_path / "one" / "reenacted.png").is_file()
    for relative_ in (None, True):
        track = [one.landmarks for one in reenact("yaw:-20,20,0", fps=4, relative=relative_)]
        assert len(track) == 1 + 3 * 4
        angles = [0, -5, -10, -15, -20, -10, 0, 10, 20, 15, 10, 5, 0]
        wanted = torch.cat([yaw(own[None], angle) for angle in angles])
        torch.testing.assert_close(torch.stack(track), wanted, atol=1e-4, rtol=1e-4)
    frames = reenact("mouth:open", frames=3)
    assert [one.landmarks for one in frames][0].equal(own)


def test_how_close_the_results_come(reenact, driver, tmp_path):
    """As the landmark network sees them, against what was asked for; where it sees no face, that is
    counted."""
    found = reenact(driver)
    images = torch.stack([one.image for one in found])
    asked = torch.stack([one.landmarks for one in found])
    found.landmarker = Blind(images[7])
    summary = found.save(tmp_path / "out", video=None)
    said = summary["landmark_error"]
    missed = [error for error in said["per_frame"]["nme"] if error is None or error > 0.1]
    assert f"in {len(missed)} of 11 frames the landmarks miss those asked" in summary["misses"][0]
    assert list(summary["identity"]["per_frame"]) == ["0.png", "10.png"]
    assert summary["identity"]["bound"] == 0.6
    nme = metrics.nme(asked, Grey()(images).points).tolist()
    torch.testing.assert_close(said["per_frame"]["nme"][3], nme[3], atol=1e-5, rtol=0)
    assert said["per_frame"]["nme"][7] is said["per_frame"]["hausdorff"][7] is None
    assert said["results_without_a_face"] == 1
    mean = sum(nme[:7] + nme[8:]) / 10
    assert said["nme"] == pytest.approx(mean, abs=1e-5)
    seen = Grey()(images[2:3]).points
    apart = metrics.hausdorff(asked[2:3], seen, 32, LINES)
    assert said["per_frame"]["hausdorff"][2] == pytest.approx(float(apart), abs=1e-5)
    # One that draws what was asked for reaches it.
    same = asked[:3]
    perfect = landmark_errors(
        lambda images: data.Landmarks(same, None, same[:, 0, 0] > -1e9), images[:3], same
    )
    assert perfect == [{"nme": 0.0, "hausdorff": 0.0}] * 3


def test_what_cannot_be_done(reenact, studio, driver, squares, tmp_path):
    for options, said in (
        ({"frames": 5}, "a morph goes to a single one"),
        ({"batch": 0}, "batch of 0"),
        ({"source_steps": -1}, "steps is -1"),
        ({"smoothing": -1}, "smoothing of -1"),
    ):
        with pytest.raises(ValueError, match=said):
            list(reenact(driver, **options))
    with pytest.raises(ValueError, match="relative driving needs one to compare"):
        reenact(driver / "0.png", relative=True)
    with pytest.raises(data.PhotoError, match="1.png: got a source in which .* no upright face"):
        studio.reenact(driver / "1.png", driver, landmarks=Grey(), align=False)
    np.savez(tmp_path / "a.npz", landmarks=np.full((3, 68, 2), np.nan))
    with pytest.raises(ValueError, match="not finite, or no face, in all of 3 frames"):
        reenact(tmp_path / "a.npz")


def test_a_driver_without_any_face(reenact, driver, tmp_path):
    """It leaves no pictures of nothing."""
    for out in (tmp_path / "out", tmp_path / "out.mp4"):
        black = tmp_path / "black"
        black.mkdir(exist_ok=True)
        for index in range(2):
            Image.new("RGB", (32, 32)).save(black / f"{index}.png")
        with pytest.raises(ValueError, match="got 2 frames without a face"):
            reenact(black).save(out)
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "out.mp4").exists()


def test_what_is_done_when_it_is_stopped_is_kept(reenact, driver, tmp_path):
    found = reenact(driver, batch=1)
    synthesize, calls = found.synthesize, []

    def stop_at_the_fourth(landmarks):
        calls.append(landmarks)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return synthesize(landmarks)

    found.synthesize = stop_at_the_fourth
    with pytest.raises(KeyboardInterrupt):
        found.save(tmp_path / "out")
    said = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (said["frames"], said["stopped"]) == (4, True)
    assert len(list(open_frames(tmp_path / "out" / "reenacted.mp4"))) == 4


def test_refinement_brings_the_source_closer(reenact, driver, studio):
    def error(found):
        with torch.no_grad():
            drawn = found.source.face.given.synthesize(studio.generator)
        return (drawn - found.source.target).square().mean()

    assert error(reenact(driver, source_steps=15)) < error(reenact(driver))


def test_the_source_is_the_same_however_it_is_asked_for(reenact, driver):
    iterated, prepared = (reenact(driver, source_steps=3) for _ in range(2))
    prepared.prepare()
    frames = [torch.stack([one.image for one in run]) for run in (iterated, prepared)]
    assert torch.equal(*frames)


@pytest.fixture
def command(network, moving, monkeypatch, capsys):
    """command(*args) -> exit status, what was printed."""
    monkeypatch.setattr(data, "landmarker", lambda *_, **__: Grey())

    def run(*args):
        fixed = ["--generator", network, "--device", "cpu", "--no-align", "--source-steps", 0]
        with pytest.raises(SystemExit) as left:
            main(["reenact", *(str(arg) for arg in (*args, *fixed))])
        return left.value.code, capsys.readouterr()

    return run


def test_what_is_done_is_known(reenact, driver, tmp_path, monkeypatch):
    """Without finding the source's code again, which refinement makes long; what differs is not."""
    out, pictures = tmp_path / "out", {"video": None}
    assert not reenact(driver, source_steps=2).is_done(out, **pictures)
    reenact(driver, source_steps=2).save(out, **pictures)
    with monkeypatch.context() as patched:
        patched.setattr(Inverter, "invert", None)
        assert reenact(driver, source_steps=2).is_done(out, **pictures)
        assert not reenact(driver, source_steps=2).is_done(out)  # a video
        for other in (
            *({"source_steps": 3}, {"preserve_source": False}, {"fps": 10.0}, {"smoothing": 0.0}),
            *({"relative": False}, {"landmarks": Other()}),
        ):
            assert not reenact(driver, **({"source_steps": 2} | other)).is_done(out, **pictures)
    said = json.loads((out / "summary.json").read_text())
    (out / "summary.json").write_text(json.dumps(said | {"stopped": True}))
    assert not reenact(driver, source_steps=2).is_done(out, **pictures)


def test_what_another_run_spoilt_is_not_done(reenact, driver, tmp_path, monkeypatch):
    out = tmp_path / "out"
    reenact(driver).save(out)
    assert reenact(driver).is_done(out)
    with monkeypatch.context() as patched:
        patched.setattr(Reenactment, "synthesize", broken)
        with pytest.raises(MemoryError):
            reenact(driver, preserve_source=False).save(out)
    assert not reenact(driver).is_done(out)


def broken(*_):
    raise MemoryError


def test_the_command(command, moving, squares, driver, tmp_path):
    known = [x for path in moving for x in ("--encoder", path)]
    paths = (squares / "0.png", driver, "--out", tmp_path / "out")
    code, said = command(*paths, *known, "--video", "none", "--driving", "absolute")
    assert code == 0
    assert "driving: absolute" in said.out
    assert "11 frames; 4 without a face" in said.out
    assert "landmark error: " in said.out
    assert "1.png: no upright face was detected" in said.err
    assert len(pixels(tmp_path / "out" / "side_by_side")) == 11
    wrong = (squares / "0.png", "jaw:20", "--out", tmp_path / "out")
    code, said = command(*wrong, *known)
    assert code == 2
    assert (
        'jaw:20: got "jaw", which is neither a motion nor a file; expected one of yaw' in said.err
    )
    code, said = command(*paths)
    assert code == 2
    assert "no difference encoder" in said.err
    assert "train one with facsimile train difference" in said.err


def test_a_folder_of_sources(command, moving, driver, tmp_path):
    """Each has a folder; those that cannot be used are named; what is done is not done again."""
    sources = tmp_path / "sources"
    out = sources / "out"  # results are no sources
    (sources / "more").mkdir(parents=True)
    levels = {"a.bmp": 120, "a.png": 90, "dark.png": 0, "film.mp4.png": 30, "more/b.png": 150}
    for name, level in levels.items():
        Image.new("RGB", (32, 32), (level,) * 3).save(sources / name)
    Image.new("RGB", (32, 48)).save(sources / "tall.png")
    (sources / "gone.png").symlink_to(tmp_path / "nowhere.png")
    known = [x for path in moving for x in ("--encoder", path)]
    told = (sources, driver / "2.png", "--out", out, *known)
    code, said = command(*told)
    assert code == 1
    assert "4 of 7 photos done, 3 failed" in said.out
    for name in ("dark.png: got a source in which", "tall.png: got 32x48", "gone.png: "):
        assert said.err.count(f"{sources}/{name}") == 1
    made = {str(path.parent.relative_to(out)) for path in out.rglob("reenacted.png")}
    assert made == {"a", "a-2", "film.mp4-2", "b"}
    alone = tmp_path / "alone"
    assert command(sources / "a.png", driver / "2.png", "--out", alone, *known)[0] == 0
    pictures = [np.asarray(Image.open(x / "reenacted.png")) for x in (out / "a-2", alone)]
    assert np.array_equal(*pictures)

    (out / "b" / "summary.json").unlink()
    Image.new("RGB", (32, 32), (200,) * 3).save(sources / "a.bmp")
    assert command(*told)[1].out.count("done before") == 2  # of a.bmp the photo is another
    assert command(*told)[1].out.count("done before") == 4
    assert command(*told, "--no-preserve-source")[1].out.count("done before") == 0
    Image.new("RGB", (32, 32), (91,) * 3).save(driver / "2.png")
    assert command(*told, "--no-preserve-source")[1].out.count("done before") == 0


def test_a_folder_that_cannot_be(command, moving, driver, tmp_path):
    """What is wrong with the driver or with --out is wrong use, of no photo in particular."""
    known = [x for path in moving for x in ("--encoder", path)]
    sources, empty, broken = (tmp_path / name for name in ("sources", "empty", "broken.png"))
    for folder in (sources, empty):
        folder.mkdir()
    Image.new("RGB", (32, 32), (90,) * 3).save(sources / "a.png")
    broken.write_bytes(b"no picture")
    for source, other, out, wrong in (
        (empty, driver, tmp_path / "out", "no photo found in"),
        (sources, driver, tmp_path / "x.mp4", "for their results; expected a folder"),
        (sources, driver, sources, "would take for photos; choose another --out"),
        (sources, broken, tmp_path / "out", "broken.png"),
        (sources, tmp_path / "gone.mp4", tmp_path / "out", "gone.mp4: no such file"),
    ):
        code, said = command(source, other, "--out", out, *known)
        assert code == 2
        assert said.err.count(wrong) == 1
    # Results inside the driver's folder are no frames of it.
    for again in (False, True):
        code, said = command(sources, driver, "--out", driver / "out", *known)
        assert code == 0
        assert ("done before" if again else "11 frames; 4 without a face") in said.out
