"""Processes that share a folder: every photo once, none lost, and one of them the last."""

import json
import os
import subprocess
import sys
import time

import pytest

import facsimile
from facsimile import claims as sharing
from facsimile import jobs
from facsimile.claims import DEAD_AFTER, Claims, key_of
from facsimile.devices import pick_device
from facsimile.launched import is_first_process, launched_device

KEY = key_of("me.jpg")


@pytest.fixture
def others(tmp_path):
    """Another process at work, on another machine."""
    with Claims(tmp_path, host="elsewhere") as others:
        yield others


def die(claims):
    """What is left of a process of another machine that has died long ago."""
    past = time.time() - 2 * DEAD_AFTER
    for file in claims.folder.glob(f"{claims.process}.*"):
        os.utime(file, (past, past))


def test_one_of_two_takes(others, tmp_path):
    with Claims(tmp_path) as mine:
        assert (others.position, mine.position) == (0, 1)
        assert mine.take(KEY)
        assert not others.take(KEY)
        assert others.take(key_of("you.jpg"))
        mine.release(KEY)
        assert others.take(KEY)
        assert not mine.take(KEY)


def test_parts_of_a_key_are_not_confused():
    assert key_of("a", "bc") != key_of("ab", "c")


def test_what_a_dead_machine_has_claimed_is_free(others, tmp_path):
    assert others.take(KEY)
    with Claims(tmp_path) as mine:
        assert not mine.take(KEY)
        die(others)
        assert mine.take(KEY)
        assert not others.holds(KEY)
        assert mine.others() == []


def test_what_a_dead_process_has_claimed_is_free(tmp_path):
    """Of this machine: by its number, and by when it was started, as numbers come again."""
    with Claims(tmp_path) as dead, Claims(tmp_path) as mine:
        assert dead.take(KEY)
        file = dead.folder / f"{dead.process}.working"
        record = json.loads(file.read_text())
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait()
        for change in ({"started": record["started"] - 60}, {"pid": child.pid}):
            file.write_text(json.dumps(record))
            assert not mine.take(KEY)
            file.write_text(json.dumps(record | change))
            assert mine.take(KEY)
            mine.release(KEY)
            assert dead.take(KEY)


def test_a_process_that_was_taken_for_dead_shows_that_it_lives(others, tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "TOUCH_EVERY", 0.001)
    with Claims(tmp_path, host="elsewhere") as sleeper, Claims(tmp_path) as mine:
        (sleeper.folder / f"{sleeper.process}.working").unlink()
        end = time.monotonic() + 10
        while len(mine.others()) < 2 and time.monotonic() < end:
            time.sleep(0.001)
        assert len(mine.others()) == 2


def test_two_at_the_same_moment_never_both_take(tmp_path):
    """Whatever comes between: here the other one claims while the first looks around."""
    with Claims(tmp_path) as one, Claims(tmp_path) as two:
        lives, taken = one._lives, []

        def late(process):
            taken.append(two.take(KEY))
            return lives(process)

        (two.folder / f"{KEY}~{two.process}").touch()
        one._lives = late
        assert [one.take(KEY), *taken].count(True) == 0  # both step back, and come again
        one._lives = lives
        assert one.take(KEY)
        assert not two.take(KEY)


def test_only_the_last_one_finishes_and_nothing_stays(tmp_path):
    finished = []
    one, two = Claims(tmp_path), Claims(tmp_path)
    with one, two:
        one.tell(KEY, {"faces": ["me"]})
        one.leave(lambda: finished.append("one"))
        two.leave(lambda: finished.append(two.outcomes()))
    assert (one.last, two.last) == (False, True)
    assert finished == [[]]  # told, but not claimed: what it does not hold, a process cannot end
    assert list(tmp_path.iterdir()) == []


def test_what_one_tells_lasts_until_all_have_left(others, tmp_path):
    with Claims(tmp_path) as mine:
        assert mine.take(KEY)
        mine.tell(KEY, {"faces": ["me"]})
    assert not mine.last
    assert others.outcome(KEY) == {"faces": ["me"]}
    others.leave()
    with Claims(tmp_path) as later:
        assert later.outcome(KEY) == {}


def test_a_new_run_forgets_what_a_killed_one_has_left(tmp_path):
    killed = Claims(tmp_path, host="elsewhere").__enter__()
    assert killed.take(KEY)
    assert killed.reserve("me", KEY)
    killed.tell(key_of("x"), {})
    die(killed)
    with Claims(tmp_path) as mine:
        assert mine.position == 0
        assert mine.take(KEY)
        assert mine.reserve("me", key_of("another"))
    killed._ended.set()
    assert list(tmp_path.iterdir()) == []


def test_a_name_belongs_to_a_photo_whoever_has_it(others, tmp_path):
    with Claims(tmp_path) as mine:
        assert others.reserve("me", KEY)
        assert mine.reserve("me", KEY)
        assert not mine.reserve("me", key_of("you.jpg"))


def test_share_takes_over_what_dies(others, tmp_path, monkeypatch):
    """And leaves what another process does or has done."""
    for item in "bcd":
        assert others.take(item)
    others.tell("d", {"ended": True})
    waits = []

    def wait():
        waits.append(0)
        if len(waits) == 1:
            others.tell("b", {"ended": True})
        else:
            die(others)

    monkeypatch.setattr(sharing, "wait_a_moment", wait)
    with Claims(tmp_path) as mine:
        assert list(mine.share("abcde", str)) == ["a", "e", "c"]
    assert len(waits) == 2


def test_processes_begin_apart(tmp_path):
    claims = Claims(tmp_path)
    starts = []
    for claims.position in range(5):
        starts.append(claims.start_of(80))
    assert starts == [0, 40, 20, 60, 10]


def test_a_job_leaves_to_others_what_they_do(network, squares, others, tmp_path, monkeypatch):
    """Photo 0 is done elsewhere, photo 1 fails elsewhere, and photo 2 is left by a machine that
    dies while this process waits for it. This one then is the last, and sums up."""
    studio = facsimile.load(network, perceptual="none", device="cpu")
    plan = studio.plan("w+", steps=0, align=False, identity="off")
    photos = sorted(squares.iterdir())
    keys = [key_of(str(photo.resolve()), plan.digest) for photo in photos]
    for key, faces, reason in ((keys[0], ["0"], ""), (keys[1], [], "1.png: no face")):
        assert others.take(key)
        photo = str(photos[keys.index(key)])
        others.tell(key, {"photo": photo, "faces": faces, "reason": reason})
    assert others.take(keys[2])
    monkeypatch.setattr(jobs, "wait_a_moment", lambda: die(others))
    job = jobs.Job(studio.inverter(plan), studio.target_reader, photos, tmp_path)
    job.run(quiet=True)
    assert (job.last, job.done, job.elsewhere) == (True, ["2"], ["0"])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["failed"] == {str(photos[1]): "1.png: no face"}
    assert [photo["name"] for photo in summary["photos"]] == ["2"]


LAUNCHED = {"LOCAL_RANK": "1", "WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("name", "cuda", "given"),
    [
        ("auto", True, "cuda:1"),
        ("cuda", True, "cuda:1"),
        ("cuda:1", True, "cuda:1"),
        ("auto", False, "auto"),
        ("cpu", True, "cpu"),
    ],
)
def test_the_launcher_gives_every_process_its_gpu(name, cuda, given):
    assert launched_device(name, LAUNCHED, cuda=cuda) == given
    assert launched_device(name, {}, cuda=cuda) == name


def test_what_cannot_be_shared_is_done_once():
    assert is_first_process({})
    assert [is_first_process({"RANK": x}) for x in "012"] == [True, False, False]


def test_a_device_that_contradicts_the_launcher_is_refused(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ValueError, match="gives this process cuda:0, and --device is cuda:1"):
        pick_device("cuda:1")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with pytest.raises(ValueError, match="asks for the CPU, and --device is cuda"):
        pick_device("cuda")
    assert pick_device("auto").type == "cpu"
