"""What summary.json says of a reenactment."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from facsimile.metrics import IdentityNetwork

from ..misses import landmark_miss, person_miss
from .drivers import VideoDriver
from .landmark_error import summarise_errors
from .stream import IDENTITY, FrameStream, ReenactedFrame

LISTED = 20
"""Frames without a face that summary.json lists."""


@dataclass
class FrameLog:
    """What is recorded of every frame that was synthesized."""

    names: list[str] = field(default_factory=list)
    raw_points: list[Tensor] = field(default_factory=list)
    errors: list[dict[str, float]] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    """Name of a frame without a face -> why, of the first ones."""
    complete: bool = True
    """Whether the driver was read to its end."""

    def add(self, frame: ReenactedFrame) -> None:
        self.names.append(frame.driver.name)
        self.raw_points.append(frame.driver.raw_points)
        self.errors.append(frame.errors)
        if frame.driver.points is None and len(self.problems) < LISTED:
            self.problems[frame.driver.name] = frame.driver.error


def summarise(stream: FrameStream, log: FrameLog, seconds: float) -> dict:
    """What summary.json holds, beside the settings."""
    driver, count = stream.driver, len(log.names)
    summary = {
        "source": stream.source.name,
        "driver": str(driver.path),
        "frames": count,
        "frames_without_a_face": stream.frames_without_face,
        "frames_of_others": stream.frames_of_others,
        "first_frames_without_a_face": log.problems,
        "fps": driver.fps,
        "seconds": round(seconds, 3),
        "frames_per_second": round(count / seconds, 2),
        "stopped": not log.complete,
    }
    if driver.notes:
        summary["driver_notes"] = list(driver.notes)
    if isinstance(driver, VideoDriver):
        summary["damaged_frames"] = driver.damaged
        summary["face_detections"] = driver.tracker.detections
    if stream.landmarker is not None:
        summary["landmark_error"] = summarise_errors(log.errors, stream.landmarker.name)
    if stream.identity is not None:
        summary["identity"] = _summarise_identity(log, stream.identity)
    summary["misses"] = _misses(stream, log)
    return summary


def _summarise_identity(log: FrameLog, network: IdentityNetwork) -> dict:
    """The distances of the person from the source's, of the frames that were compared."""
    per_frame = {
        name: round(errors[IDENTITY], 4)
        for name, errors in zip(log.names, log.errors, strict=True)
        if IDENTITY in errors
    }
    descriptions = network.descriptions()
    return {
        "network": network.name,
        "metric_descriptions": {IDENTITY: descriptions[IDENTITY]},
        IDENTITY: round(sum(per_frame.values()) / max(1, len(per_frame)), 4),
        "bound": network.threshold,
        "per_frame": per_frame,
    }


def _misses(stream: FrameStream, log: FrameLog) -> list[str]:
    """Sentences on what the results miss by more than a bound."""
    misses = []
    if stream.landmarker is not None:
        misses.append(landmark_miss([errors["nme"] for errors in log.errors]))
    if stream.identity is not None:
        distances = [errors[IDENTITY] for errors in log.errors if IDENTITY in errors]
        misses.append(person_miss(distances, stream.identity))
    return [sentence for sentence in misses if sentence]


def no_face_message(stream: FrameStream, log: FrameLog) -> str:
    count, first = len(log.names), next(iter(log.problems.values()), "")
    return (
        f"{stream.driver.path}: got {count} frame{'s' * (count != 1)} without a face "
        f"({first}), expected one seen from the front; use another driver, or --no-align if "
        "its faces are aligned already"
    )


def print_summary(summary: dict, driver: Path, out: Path) -> None:
    """Say what became of the frames; what went wrong goes to the errors."""
    count, faceless = summary["frames"], summary["frames_without_a_face"]
    if count == 1:
        print(f"one picture: {out}")
    else:
        repeated = f"; {faceless} without a face repeat the previous pose" * bool(faceless)
        if summary["frames_of_others"]:
            repeated = f"; {faceless} without the person repeat the previous pose, and "
            repeated += f"{summary['frames_of_others']} of these show others"
        print(f"{count} frames{repeated}; {summary['frames_per_second']} frames/s: {out}")
    if "sound" in summary:
        print(f"sound: {summary['sound']}")
    error = summary["landmark_error"]
    if error["nme"] is not None:
        missing = error["results_without_a_face"]
        print(
            f"landmark error: {error['nme']:.3f} of the distance between the eyes, Hausdorff "
            f"{error['hausdorff']:.3f}" + f"; {missing} results without a face" * bool(missing)
        )
    if "lost_detail" in summary:
        print(f"whole: {summary['lost_detail']}")
    for miss in summary["misses"]:
        print(f"note: {miss}")
    for name, reason in summary["first_frames_without_a_face"].items():
        print(f"  {name}: {reason}", file=sys.stderr)
    damaged = summary.get("damaged_frames", 0)
    if damaged:
        what = "one frame is" if damaged == 1 else f"{damaged} frames are"
        print(f"  {driver}: {what} damaged, and shown so or left out", file=sys.stderr)
