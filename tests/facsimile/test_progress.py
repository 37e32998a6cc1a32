"""The progress of a batch. Oracle: steps and images, counted by hand."""

import io
import threading

import torch
from tqdm import tqdm

from facsimile.refine import Step
from facsimile.resume import ProgressCallback, ResumeFile


def test_the_bar_counts_each_step_of_each_image_once(tmp_path):
    """Two phases of two steps: each ends with an evaluation of the result, which is no step."""
    bar = tqdm(total=12, file=io.StringIO())
    resume_file = ResumeFile(tmp_path, [("a", "1"), ("b", "2")], "plan")
    callback = ProgressCallback(bar, resume_file, threading.Event(), ["a", "b", "c"], 0)
    counts = []
    for done, active in ((1, 3), (2, 3), (2, 3), (3, 3), (4, 2), (4, 2)):
        callback(Step("code", done, 4, torch.arange(active), {}, dict))
        counts.append(bar.n)
    assert counts == [3, 6, 6, 9, 11, 11]
    callback.finish(12)
    assert bar.n == 12
