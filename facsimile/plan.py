"""`InversionPlan`: what an inversion will do, decided once, before anything runs.

The plan is printed, runs, keys the resume, and is stored in scores.json.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypedDict

from facsimile.checkpoints import EncoderSet, LoadedEncoder
from facsimile.encoders import KINDS
from facsimile.metrics import IdentityNetwork, Perceptual
from facsimile.refine import Recipe, recipes, terms
from facsimile.stylegan import Generator, spaces
from facsimile.stylegan.generator import fingerprint

from .identity import Identity, identity_note, with_identity_term
from .targets import Faces

Init = Literal["mean", "random", "encoder"]


class PlanOptions(TypedDict, total=False):
    """What may be asked for, as keywords of `Studio.plan` and `Studio.invert`."""

    recipe: str | Recipe
    """A recipe, or its name: see `refine.recipes`."""
    steps: int | None
    """Steps of the first phase, the others in proportion; None: the recipe's own."""
    lr: float
    """Factor of every learning rate."""
    patience: int | None
    """Stop an image when its loss has not fallen by 0.1 % in so many steps."""
    layer: str | None
    """Convolution whose output is the feature of f/ recipes; None: the encoder's, or the
    generator's default."""
    init: Init | None
    """Where the latents start; None: at an encoder's prediction if there is an encoder that serves
    the recipe, else as the recipe or its space has it."""
    seed: int
    """Seed of a random initialisation."""
    label: int | None
    """Class of a conditional generator, from 0 on."""
    align: bool
    """Find the face and crop it as FFHQ does; False: photos are such crops already."""
    face: Faces
    """Which faces of a photo with several."""
    identity: Identity
    """The network that recognises people, for the identity term and the scores of targets that show
    a face. "auto": dlib's, if its package is installed; "off": dlib's for the scores alone."""


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


@dataclass(frozen=True, kw_only=True)
class InversionPlan:
    """What an inversion will do. Made by `Studio.plan`."""

    generator: str
    """Its name or path."""
    fingerprint: str
    """Of the generator's weights."""
    recipe: Recipe
    """Fitted to the encoder, if there is one: the feature's layer, RGB skip and regularisation."""
    init: Init
    encoder: PlannedEncoder | None = None
    seed: int = 0
    label: int | None = None
    align: bool = True
    face: Faces = "largest"
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
    init_note: str = ""
    """Why the initial latents are not an encoder's prediction, or not that of the encoder that the
    recipe names."""

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return self.recipe.steps

    def describe(self) -> str:
        """The plan in words, a line per decision."""
        phases = ", then ".join(
            f"{' and '.join(v.name for v in phase.variables)} for {phase.steps} steps"
            for phase in self.recipe.phases
        )
        lines = [f"recipe: {self.recipe.name} ({phases if self.steps else 'no refinement'})"]
        if self.init == "encoder" and self.encoder is not None:
            path = self.encoder.path
            lines.append(f"init: the {self.encoder.kind} encoder {path}{self.init_note}")
        else:
            lines.append(f"init: {self.init}{self.init_note}")
        if self.recipe.layer is not None:
            lines.append(f"feature: the output of {self.recipe.layer}")
        if self.label is not None:
            lines.append(f"label: {self.label}")
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
        return json.loads(json.dumps(values))

    def gives_same_result(self, record: dict) -> bool:
        """Whether `record`, the `to_dict` of another plan, gives the same result as this plan."""
        return record | {"generator": self.generator} == self.to_dict()

    @property
    def digest(self) -> str:
        """16 hexadecimal digits: plans that give the same result have the same digest."""
        record = self.to_dict()
        del record["generator"]  # the fingerprint says which one it is
        text = json.dumps(record, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def adapt_recipe(
    recipe: str | Recipe, steps: int | None, lr: float, patience: int | None, layer: str | None
) -> Recipe:
    """A recipe with the changes of `PlanOptions`; ValueError for numbers out of range."""
    if lr <= 0:
        raise ValueError(f"lr is {lr}; it must be above 0")
    if steps is not None and steps < 0:
        raise ValueError(f"steps is {steps}; it must be 0 or more")
    if patience is not None and patience < 1:
        raise ValueError(f"patience is {patience}; it must be 1 or more")
    if isinstance(recipe, str):
        recipe = recipes.get(recipe)
    if steps is not None:
        recipe = recipe.with_steps(steps)
    if lr != 1:
        recipe = recipe.with_lr(lr)
    if patience is not None:
        recipe = recipe.with_patience(patience)
    return recipe if layer is None else recipe.with_layer(layer)


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
    init: Init | None,
    seed: int,
    label: int | None,
    align: bool,
    face: Faces,
) -> InversionPlan:
    """Decide how the recipe starts, and check what was asked for; see `Studio.plan`."""
    check_label(generator, recipe, label)
    recipe = with_identity_term(recipe, identity, add=identity_term)
    recipe = recipe.for_networks({"perceptual": perceptual})
    if recipe.layer is not None:
        generator.first_ws_index(recipe.layer)  # ValueError with the layers there are
    encoder, init_note = _initial_encoder(recipe, init or recipe.init, encoders)
    if encoder is not None:
        init, recipe = "encoder", _fit_recipe(recipe, encoder)
    else:
        default: Any = spaces.parse(recipe.space)[0].default_init
        init = init or recipe.init or default
        encoder = _domain_encoder(recipe, encoders)
    assert init is not None
    return InversionPlan(
        generator=name,
        fingerprint=generator.fingerprint,
        recipe=recipe,
        init=init,
        encoder=None if encoder is None else PlannedEncoder.of(encoder),
        seed=seed,
        label=label,
        align=align,
        face=face,
        networks=further_networks(recipe, {**networks, "identity": identity}),
        perceptual="none" if perceptual is None else perceptual.name,
        perceptual_note="" if perceptual is None else perceptual.note,
        identity="none" if identity is None else identity.name,
        identity_note=identity_note(generator, identity),
        init_note=init_note,
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


def _initial_encoder(
    recipe: Recipe, init: Init | None, encoders: EncoderSet
) -> tuple[LoadedEncoder | None, str]:
    """The encoder that predicts the initial latents, or None and why not.

    An encoder that was asked for must be there (ValueError); one that is only preferred is left out
    if it cannot be used.
    """
    if init == "encoder":
        return _usable_encoder(recipe, encoders), ""
    if init is not None or recipe.encoder is None:
        return None, ""
    kind = next(filter(encoders.has, _kinds(recipe)), None)
    if kind is None:
        return None, f", as this generator has no {recipe.encoder} encoder"
    try:
        encoder = _usable_encoder(recipe, encoders)
        return encoder, "" if encoder.kind == recipe.encoder else _why_another(recipe, encoders)
    except (ValueError, OSError) as error:
        return None, f", because its {kind} encoder cannot be used: {error}"


def _why_another(recipe: Recipe, encoders: EncoderSet) -> str:
    """Why the initial latents are predicted by another kind than the recipe names."""
    assert recipe.encoder is not None
    if not encoders.has(recipe.encoder):
        return f", as this generator has no {recipe.encoder} encoder"
    return f", as the {recipe.encoder} encoder does not predict the feature of {recipe.layer}"


def _usable_encoder(recipe: Recipe, encoders: EncoderSet) -> LoadedEncoder:
    """The encoder that predicts the recipe's initial latents: of the kind that the recipe names,
    else of another kind that starts its space; of those that predict a feature, the first one that
    predicts the recipe's layer. ValueError without such an encoder.
    """
    kinds = _kinds(recipe)
    if not kinds:
        raise ValueError(
            f'no encoder predicts a code in "{recipe.space}"; take a recipe in f/, w+, p_n+ or s, '
            "or another init"
        )
    available = [kind for kind in kinds if encoders.has(kind)] or kinds[:1]
    first = encoders.get(available[0])  # raises
    if _predicts_layer_of(recipe, first):
        return first
    for kind in available[1:]:
        if _predicts_layer_of(recipe, other := encoders.get(kind)):
            return other
    config: Any = first.network.config
    raise ValueError(
        f"{first.path} predicts the feature of {config.layer}, and {recipe.layer} is asked for; "
        "leave the layer out, or choose the init mean, or random in Z"
    )


def _kinds(recipe: Recipe) -> list[str]:
    """The kinds that start the recipe's space, first the one that it names; none if that cannot."""
    kinds = [name for name, kind in KINDS.items() if recipe.space in kind.spaces]
    if recipe.encoder is not None and recipe.encoder not in kinds:
        return []
    return sorted(kinds, key=lambda kind: kind != recipe.encoder)


def _predicts_layer_of(recipe: Recipe, encoder: LoadedEncoder) -> bool:
    """Whether the encoder predicts the feature that the recipe has, or codes alone."""
    config: Any = encoder.network.config
    return not _predicts_feature(encoder) or recipe.layer in (None, config.layer)


def _fit_recipe(recipe: Recipe, encoder: LoadedEncoder) -> Recipe:
    recipe = recipe.from_encoder()
    if not _predicts_feature(encoder):
        return recipe
    config: Any = encoder.network.config
    # The feature encoder's RGB skip is that of the codes that it predicts.
    return replace(recipe, layer=config.layer, rgb_skip=getattr(config, "rgb_skip", "keep"))


def _domain_encoder(recipe: Recipe, encoders: EncoderSet) -> LoadedEncoder | None:
    """The encoder into W+ that the domain term compares with; None if there is no such term."""
    if not recipe.has_term("domain_reg"):
        return None
    kinds = [name for name, kind in KINDS.items() if kind.predicts == "w+"]
    return encoders.get(recipe.encoder or next(filter(encoders.has, kinds), kinds[0]))


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


def _predicts_feature(encoder: LoadedEncoder) -> bool:
    return KINDS[encoder.kind].predicts in ("feature", "feature and w+")
