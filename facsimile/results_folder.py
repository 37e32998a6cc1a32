"""A folder of results: what earlier calls have left there, and where the next result goes.

Every face has a folder of its own, OUT/NAME, whose scores.json says of which photo it is and by
which plan it was made. A result stays as it is: one of another plan, or of a photo whose file has
changed, is written beside it, under the next free name.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from facsimile.refine import NOT_FINITE
from facsimile.stylegan import Generator, Latents

from .inputs import candidate_names, natural_key, path_key, path_keys, resolved
from .json_files import read_json
from .plan import InversionPlan
from .result import LATENTS, SCORES


@dataclass(frozen=True)
class Destination:
    """Where the result of a photo goes."""

    name: str
    """Of the folder of its first face."""
    beside: str = ""
    """The folder of an earlier result of the photo, made otherwise, which stays."""


@dataclass(frozen=True)
class Start:
    """A result from which refinement by another plan goes on."""

    name: str
    """Of its folder."""
    phases: int
    """How many phases of the plan it has behind it, with their steps."""
    steps: int
    latents: Latents
    """Of one image."""


@dataclass
class ResultsFolder:
    """The results in `out` of photos by `plan`, and by other plans."""

    out: Path
    plan: InversionPlan
    replace: bool = False
    """Put a result in the place of one that was made otherwise, instead of beside it."""
    reserve: Callable[[str, str], bool] = lambda name, photo: True
    """(name, photo) -> whether no other process has given the name to another photo."""
    records: dict[str, dict] = field(init=False)
    """Name -> what scores.json held when this object was made."""

    def __post_init__(self) -> None:
        self.records = {record["name"]: record for record in read_records(self.out)}
        self._of_source: dict[str, list[dict]] = {}
        for record in self.records.values():
            self._of_source.setdefault(record.get("source", ""), []).append(record)
        self._taken = path_keys(self.out.iterdir()) if self.out.is_dir() else set()

    def destination(self, source: Path, digest: str, stem: str) -> Destination:
        """Where the result of a photo goes; digest: of its bytes.

        The folder of an earlier result by the same plan, if there is one. Otherwise a folder that
        nothing is in, and that no other photo is given.
        """
        there = self._of_source.get(resolved(source), [])
        for record in there:
            if self._is_same(record, digest):
                return Destination(record["photo"])
        beside = there[0]["photo"] if there else ""
        if beside and self.replace:
            return Destination(beside)
        free = (name for name in candidate_names(stem) if self._is_free(name))
        name = next(x for x in free if self.reserve(path_key(self.out / x), resolved(source)))
        self._taken.add(path_key(self.out / name))
        return Destination(name, beside)

    def _is_free(self, name: str) -> bool:
        """Whether nothing is called so, nor as a further face of a photo called so would be."""
        key = path_key(self.out / name)
        if self.plan.face == "all":
            return not any(taken == key or taken.startswith(f"{key}-face") for taken in self._taken)
        return key not in self._taken

    def finished(self, name: str, digest: str) -> dict:
        """scores.json of a finished face; {} unless it was made of these bytes by this plan."""
        record = self.records.get(name, {})
        good = record.get("status") != NOT_FINITE and (self.out / name / LATENTS).is_file()
        return record if good and self._is_same(record, digest) else {}

    def start(self, source: Path, digest: str, face: int, generator: Generator) -> Start | None:
        """The result that has most of the plan's phases behind it; None if there is none.

        face: number of the face in its photo, from 0 on.
        """
        found: list[tuple[int, dict]] = []
        for record in self._of_source.get(resolved(source), []):
            phases = self.plan.phases_done(record.get("plan", {}))
            same_face = record.get("face", 0) == face and record.get("digest") == digest
            if same_face and phases is not None and record.get("status") != NOT_FINITE:
                found.append((phases, record))
        for phases, record in sorted(found, key=lambda pair: -pair[0]):
            try:
                latents = Latents.load(self.out / record["name"] / LATENTS, generator)
            except (OSError, ValueError):
                continue  # a damaged file is no place to go on from
            return Start(record["name"], phases, record["steps"], latents)
        return None

    def _is_same(self, record: dict, digest: str) -> bool:
        return record.get("digest") == digest and self.plan.gives_same_result(
            record.get("plan", {})
        )


def read_records(out: Path) -> list[dict]:
    """The contents of scores.json of all results in a folder, in the natural order of names."""
    records = []
    for path in sorted(out.glob(f"[!.]*/{SCORES}"), key=lambda path: natural_key(path.parent.name)):
        record = read_json(path)
        if "scores" in record:
            # A person may have renamed the folder.
            name, first = path.parent.name, record.get("photo", record.get("name"))
            photo = name if first == record.get("name") else first
            records.append(record | {"name": name, "photo": photo})
    return records
