"""The progress of a job. Oracle: steps and photos, counted by hand."""

import pytest
import torch

from facsimile import job_progress
from facsimile.job_progress import JobProgress
from facsimile.refine import Step
from facsimile.training.machine import duration


def step(done, active, total=4):
    return Step(
        "code", done, total, torch.arange(active), {"pixel": torch.full((active,), 0.5)}, dict
    )


def test_it_counts_each_step_of_each_photo_once():
    """Two phases of two steps: each ends with an evaluation of the result, which is no step."""
    progress = JobProgress(3, 4, 4)
    assert progress.bar.total == 12
    progress.begin_batch(["a", "b", "c"], 0)
    counts = []
    for done, active in ((1, 3), (2, 3), (2, 3), (3, 3), (4, 2), (4, 2)):
        progress.step(step(done, active))
        counts.append(progress.bar.n)
    assert counts == [3, 6, 6, 9, 11, 11]
    progress.end_batch([4, 4, 3])
    # 100 %, though a photo has stopped before its last step.
    assert progress.bar.n == progress.bar.total == 11
    progress.close()


def test_what_is_left_follows_the_photos_that_are_done():
    progress = JobProgress(4, 1200, 150)
    assert progress.bar.total == 600
    progress.begin_batch(["a", "b"], 0)
    for done in range(1, 41):
        progress.step(step(done, 2, 1200))
    assert "photo 1-2 of 4, step 40 of at most 1200, loss 0.5" in progress.bar.desc
    progress.end_batch([40, 40])
    # Two are done, and the other two will take as long.
    assert (progress.bar.n, progress.bar.total) == (80, 160)
    progress.change_count(-1)  # one is no photo
    assert progress.bar.total == 120
    progress.begin_batch(["c"], 10)  # resumed
    assert progress.bar.n == 90
    assert progress.batch_steps == 10
    for done in range(11, 61):
        progress.step(step(done, 1, 1200))
    # It takes longer than the others: a tenth of what it has taken is left, one step before.
    assert progress.bar.total == pytest.approx(progress.bar.n + 6)
    progress.close()


def test_the_time_that_it_will_take_is_said_after_a_few_steps(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(job_progress.time, "monotonic", lambda: now[0])
    progress = JobProgress(10, 100, 100)
    progress.begin_batch(["a", "b"], 0)
    for done in range(1, 9):
        now[0] += 9.0 if done == 1 else 0.5  # the first step takes long
        progress.step(step(done, 2, 100))
    printed = capsys.readouterr().out
    # 0.5 s for two photos: 2.5 s a step of all ten, and 95 or so steps are left.
    assert printed == "10 photos, 100 steps each: about 4 min (0.5 s a step of 2 photos)\n"
    progress.close()


def test_a_photo_that_goes_on_counts_from_its_earlier_steps():
    progress = JobProgress(1, 1920, 220)
    progress.begin_batch(["a"], 0, steps_done=200)
    progress.step(step(1201, 1, 1920))
    assert "step 201 of at most 1920" in progress.bar.desc
    assert progress.bar.total - progress.bar.n == pytest.approx(20, abs=0.5)
    progress.close()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (40, "40 s"), (99, "99 s"), (130, "2 min"), (5990, "1 h 40 min")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words
