"""`InversionPlan`: what an inversion will do, decided once, before anything runs.

The plan is printed, runs, keys the resume, and is stored in scores.json.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from facsimile.checkpoints import EncoderSet, LoadedEncoder
from facsimile.data.face_choice import read_choice
from facsimile.metrics import IdentityNetwork, Perceptual
from facsimile.refine import Phase, Recipe, terms
from facsimile.refine.padding import without_padding
from facsimile.stylegan import Generator, spaces
from facsimile.stylegan.generator import fingerprint

from .aspect import shown_mask
from .identity import identity_note, with_identity_term
from .initial_file import PlannedFile
from .precision import Precision, checked
from .recipe_options import EXACT_PSNR
from .start import Init, decide_start
from .targets import Faces

TYPICAL_STEPS, TYPICAL_STEPS_TO_GOAL = 200, 20
"""Of a phase that stops when an image is done, and of one that stops at its goal, with the bundled
networks: for the estimate of the time alone."""


@dataclass(frozen=True, kw_only=True)
class PlannedEncoder:
    """The encoder that predicts the initial latents, or that a domain term compares with."""

    kind: str
    path: Path
    fingerprint: str
    """Of its weights."""

    @staticmethod
    def of(encoder: LoadedEncoder) -> "PlannedEncoder":
        return PlannedEncoder(kind=encoder.kind, path=encoder.path, fingerprint=encoder.fingerprint)


@dataclass(frozen=True, kw_only=True, repr=False)
class InversionPlan:
    """What an inversion will do. Made by `Studio.plan`."""

    generator: str
    """Its name or path."""
    fingerprint: str
    """Of the generator's weights."""
    recipe: Recipe
    """Fitted to the encoder, if there is one: the feature's layer, RGB skip and regularisation."""
    init: Init | Literal["file"]
    encoder: PlannedEncoder | None = None
    file: PlannedFile | None = None
    """Of the initial latents, if they are those of a file."""
    seed: int = 0
    label: int | None = None
    align: bool = True
    face: Faces = "largest"
    aspect: str | None = None
    """Width to height of the part of the square that targets fill; None: all of it."""
    perceptual: str = "none"
    """Name of the perceptual metric."""
    networks: dict[str, str] = field(default_factory=dict)
    """Further networks that the recipe's terms need: name -> fingerprint of the weights."""
    perceptual_note: str = ""
    """What that metric is, in a sentence."""
    identity: str = "none"
    """Name of the network that recognises people: for the scores, and for the term "identity" if
    the recipe has it."""
    identity_note: str = ""
    """What that network is, or how to get one, in a sentence."""
    precision: Precision | None = None
    """In what networks compute; None: as PyTorch has it."""
    init_note: str = ""
    """Why the initial latents are not an encoder's prediction, or not that of the encoder that the
    recipe names."""

    def __repr__(self) -> str:
        return (
            f'InversionPlan("{self.recipe.name}" of the generator "{self.generator}", init '
            f"{self.init}, {self.steps} steps)"
        )

    @property
    def steps(self) -> int:
        """Steps of all phases; where a photo may stop before, the most that it takes."""
        return self.recipe.steps

    @property
    def reading(self) -> dict[str, Any]:
        """How photos become targets: keywords of `TargetReader.read_crops`."""
        return {"align": self.align, "face": self.face, "aspect": self.aspect}

    @property
    def typical_steps(self) -> int:
        """Steps that a photo takes as a rule: all, or the usual ones of a phase that stops."""
        return sum(min(phase.steps, _usual_steps(phase)) for phase in self.recipe.phases)

    def describe(self) -> str:
        """The plan in words, a line per decision."""
        phases = ", then ".join(
            f"{' and '.join(v.name for v in phase.variables)} {_duration(phase)}"
            for phase in self.recipe.phases
        )
        lines = [f"recipe: {self.recipe.name} ({phases if self.steps else 'no refinement'})"]
        if self.init == "encoder" and self.encoder is not None:
            path = self.encoder.path
            lines.append(f"init: the {self.encoder.kind} encoder {path}{self.init_note}")
        elif self.file is not None:
            lines.append(f"init: {self.file.words}")
        else:
            lines.append(f"init: {self.init}{self.init_note}")
        if self.recipe.layer is not None:
            lines.append(f"feature: the output of {self.recipe.layer}")
        if self.label is not None:
            lines.append(f"label: {self.label}")
        if self.aspect is not None:
            lines.append(f"aspect: {self.aspect}, the rest of the square is black and left aside")
        if self.precision is not None:
            lines.append(f"precision: {self.precision}")
        if self.perceptual_note:
            lines.append(self.perceptual_note)
        if self.recipe.has_term("identity") and self.steps:
            lines.append(f"{self.identity_note}, as a term and a score where a face is shown")
        elif self.identity != "none":
            lines.append(f"{self.identity_note}, as a score where a face is shown")
        elif self.identity_note:
            lines.append(self.identity_note)
        return "\n".join(lines)

    def to_dict(self) -> dict:
        """All that decides the result beside the photo, as JSON holds it."""
        values = asdict(self)
        del values["perceptual_note"], values["identity_note"], values["init_note"]
        if self.encoder is not None:
            del values["encoder"]["path"]
        if self.file is None:  # as in results from before there was a choice
            del values["file"]
        else:
            values["file"] = {"digest": self.file.digest}
        for name in ("precision", "aspect"):
            if values[name] is None:  # as in results from before there was a choice
                del values[name]
        return json.loads(json.dumps(values))

    def gives_same_result(self, record: dict) -> bool:
        """Whether `record`, the `to_dict` of another plan, gives the same result as this plan."""
        return record | {"generator": self.generator} == self.to_dict()

    def phases_done(self, record: dict) -> int | None:
        """How many of this plan's phases a result by another plan has behind it, exactly.

        record: the `to_dict` of that plan. 0: it is an encoder's prediction, or whatever else this
        plan starts from. None: this plan would not have come by it.
        """
        mine, other = self.to_dict(), record
        if any(other.get(name) != mine.get(name) for name in ("precision", "aspect")):
            return None
        try:
            phases, done = mine["recipe"].pop("phases"), other["recipe"]["phases"]
            done = [phase for phase in done if phase["steps"]]
            recipe = {k: v for k, v in other["recipe"].items() if k not in ("phases", "name")}
        except (KeyError, TypeError):
            return None
        del mine["recipe"]["name"]
        count = len(done)
        # What only phases need decides nothing where none has run.
        free = {"generator", "recipe"} | (set() if done else {"perceptual", "identity", "networks"})
        same = all(other.get(name) == mine[name] for name in mine.keys() - free)
        if recipe == mine["recipe"] and same and done == phases[:count] and count < len(phases):
            return count
        return None

    @property
    def digest(self) -> str:
        """16 hexadecimal digits: plans that give the same result have the same digest."""
        return digest_of(self.to_dict())


def _usual_steps(phase: Phase) -> int:
    if phase.goal is not None:
        return TYPICAL_STEPS_TO_GOAL
    return phase.steps if phase.patience is None else TYPICAL_STEPS


def _duration(phase: Phase) -> str:
    if phase.goal is not None:
        return f"to {EXACT_PSNR:.0f} dB, at most {phase.steps} steps"
    if phase.patience is not None:
        return f"until a photo is done, at most {phase.steps} steps"
    return f"for {phase.steps} steps"


def digest_of(record: dict) -> str:
    """The digest of the plan whose `to_dict` is the record."""
    record = {k: v for k, v in record.items() if k != "generator"}  # its fingerprint is there
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def make_plan(
    generator: Generator,
    name: str,
    encoders: EncoderSet,
    perceptual: Perceptual | None,
    networks: Mapping[str, Any],
    identity: IdentityNetwork | None,
    recipe: Recipe,
    *,
    identity_term: bool,
    aspect: str | None,
    init: Init | Path | None,
    seed: int,
    label: int | None,
    align: bool,
    face: Faces,
    precision: Precision | None,
) -> InversionPlan:
    """Decide how the recipe starts, and check what was asked for; see `Studio.plan`."""
    check_label(generator, recipe, label)
    read_choice(face)
    if aspect is not None:
        share = float(shown_mask(aspect, 1, generator.resolution).mean())
        align, identity, recipe = False, None, without_padding(recipe, share)
    recipe = with_identity_term(recipe, identity, add=identity_term)
    recipe = recipe.for_networks({"perceptual": perceptual})
    if recipe.layer is not None:
        generator.first_ws_index(recipe.layer)  # ValueError with the layers there are
    start = decide_start(generator, recipe, init, encoders)
    recipe, encoder = start.recipe, start.encoder
    return InversionPlan(
        generator=name,
        fingerprint=generator.fingerprint,
        recipe=recipe,
        init=start.init,
        encoder=None if encoder is None else PlannedEncoder.of(encoder),
        file=start.file,
        seed=seed,
        label=label,
        align=align,
        face=face,
        aspect=aspect,
        networks=further_networks(recipe, {**networks, "identity": identity}),
        perceptual="none" if perceptual is None else perceptual.name,
        perceptual_note="" if perceptual is None else perceptual.note,
        identity="none" if identity is None else identity.name,
        identity_note="" if aspect else identity_note(generator, identity),
        precision=checked(precision),
        init_note=start.note,
    )


def check_label(generator: Generator, recipe: Recipe, label: int | None) -> None:
    """ValueError unless the generator has this class, or needs none."""
    count = generator.c_dim
    if label is None:
        if count and spaces.parse(recipe.space)[0].needs_label:
            raise ValueError(
                f"this generator draws {count} classes, and a code in Z belongs to one of them; "
                f"pass its label, 0 to {count - 1}"
            )
    elif not 0 <= label < count:
        expected = f"one from 0 to {count - 1}" if count else "none, as it has no classes"
        raise ValueError(f"got the label {label}; this generator takes {expected}")


def further_networks(recipe: Recipe, networks: Mapping[str, Any]) -> dict[str, str]:
    """Name -> fingerprint of the networks that terms need; ValueError if the studio lacks one."""
    fingerprints = {}
    for term in recipe.terms():
        for name in set(terms.get(term.name).networks) - {"perceptual", "encoder"}:
            if name not in networks:
                raise ValueError(
                    f'the recipe "{recipe.name}" has the term "{term.name}", which needs the '
                    f'network "{name}"; pass Studio(..., networks={{"{name}": ...}}), or take '
                    "another recipe"
                )
            network = networks[name]
            weights = network.state_dict() if hasattr(network, "state_dict") else None
            fingerprints[name] = "" if weights is None else fingerprint(weights)
    return fingerprints
