"""The photos of a job, which this process shares with others over one folder; see `claims`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .claims import Claims, key_of
from .inputs import resolved
from .job_items import Read


@dataclass
class OpenPhoto:
    """A photo that was read, until all its faces are written."""

    faces: list[str]
    left: int
    """How many are not written."""
    reason: str = ""
    """Why it failed."""


@dataclass
class SharedPhotos:
    """Claims each photo until `close` was called for all its faces, and tells the others then."""

    claims: Claims
    settings: str
    """The digest of the plan: by another one, a photo is other work."""
    open_photos: dict[Path, OpenPhoto] = field(default_factory=dict)

    def rounds(
        self, photos: Sequence[Path], read: Callable[[Iterable[Path]], Iterator[Read]]
    ) -> Iterator[Read | None]:
        """What is read of every photo; after every round that leaves some to others, None."""
        begin = self.claims.start_of(len(photos))
        left = [*photos[begin:], *photos[:begin]]
        while left:
            busy = []
            for one in read(left):
                if one.busy:
                    busy.append(one.photo)
                else:
                    yield one
            left = busy
            if left:
                yield None

    def take(self, photo: Path) -> Read | None:
        """Claim a photo. What other processes do with it, or have done; None: it is this one's."""
        key = self._key(photo)
        if not self.claims.take(key):
            return Read(photo, [], busy=True)
        outcome = self.claims.outcome(key)
        return Read(photo, [], elsewhere=outcome["faces"]) if outcome else None

    def holds(self, photo: Path) -> bool:
        return self.claims.holds(self._key(photo))

    def open(self, read: Read) -> None:
        names = [*read.done, *read.elsewhere, *(item.name for item in read.items)]
        reason = "" if read.error is None else str(read.error)
        self.open_photos[read.photo] = OpenPhoto(names, len(read.items), reason)
        self.close(read.photo, 0)

    def close(self, photo: Path, faces: int = 1, reason: str = "") -> None:
        """So many more of its faces have ended, with a reason if one has failed."""
        one = self.open_photos[photo]
        one.left -= faces
        one.reason = reason or one.reason
        if not one.left:
            del self.open_photos[photo]
            if self.claims.outcome(self._key(photo)):
                self.claims.release(self._key(photo))
            else:
                outcome = {"photo": str(photo), "faces": one.faces, "reason": one.reason}
                self.claims.tell(self._key(photo), outcome)

    def outcomes(self) -> dict[str, str]:
        """Photo -> why it failed, "" where it did not; of all processes."""
        return {x["photo"]: x["reason"] for x in self.claims.outcomes() if "photo" in x}

    def _key(self, photo: Path) -> str:
        return key_of(resolved(photo), self.settings)
