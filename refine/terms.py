"""The terms of a refinement's loss: functions of a `Scene` to one value per image.

Legend: N images, C channels, HxW pixels, L style inputs. Every term is a mean over the scalars of
one image, and images never influence one another.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from facsimile import metrics
from facsimile.metrics import Perceptual
from facsimile.stylegan import Generator, Latents, spaces

from .recipe import Recipe, Term

# Image2StyleGAN++ divides its noise loss by the scalars of a 1024 px RGB image (section 4.1), and
# takes it on 0..255 with the weight 1e-5: so many times the sum of squares on [-1, 1].
PAPER_SIDE = 2**10
PAPER_NOISE_WEIGHT = 1e-5 * 127.5**2 / (3 * PAPER_SIDE**2)


@dataclass(frozen=True)
class Batch:
    """What the images of a batch are compared with; it stays the same while they move."""

    generator: Generator
    start: Latents
    """The latents as they were before refinement."""
    targets: dict[str, Tensor]
    """(N, C, H, W) each."""
    target_features: dict[str, list[Tensor]]
    masks: dict[str, Tensor]
    """(N, 1, H, W) in [0, 1] each."""
    perceptual: Perceptual | None
    encoder: Callable[[Tensor], Tensor] | None = None
    """Images (N, C, H, W) -> their codes (N, L, w_dim), image by image."""

    @staticmethod
    def prepare(
        generator: Generator,
        start: Latents,
        targets: dict[str, Tensor],
        masks: dict[str, Tensor],
        perceptual: Perceptual | None,
        recipe: Recipe,
        encoder: Callable[[Tensor], Tensor] | None = None,
    ) -> "Batch":
        """With the features of the targets, computed once."""
        terms = [term for phase in recipe.phases for term in phase.terms if term.weight]
        used = {term.target for term in terms if term.name == "perceptual"}
        if used and perceptual is None:
            raise ValueError("the recipe has a perceptual term; pass perceptual=..., or weight 0")
        # Not under no_grad: so an image's are the same in every batch (see stylegan.layers.linear).
        features = {name: [x.detach() for x in perceptual.features(targets[name])] for name in used}
        return Batch(generator, start, targets, features, masks, perceptual, encoder)

    def pick(self, rows: Tensor) -> "Batch":
        """The same for some of the images."""
        if len(rows) == len(self.start):
            return self
        return replace(
            self,
            start=self.start[rows],
            targets={name: x[rows] for name, x in self.targets.items()},
            target_features={
                name: [x[rows] for x in features] for name, features in self.target_features.items()
            },
            masks={name: x[rows] for name, x in self.masks.items()},
        )

    def scene(self, latents: Latents) -> "Scene":
        return Scene(self, latents, latents.draw(self.generator))


@dataclass(frozen=True)
class Scene:
    """All that a term may look at, at one step."""

    batch: Batch
    latents: Latents
    image: Tensor
    """(N, C, H, W) as the latents draw it."""

    def difference(self, term: Term) -> Tensor:
        """(image - target), times the mask."""
        difference = self.image - self.batch.targets[term.target]
        return difference if term.mask is None else difference * self.batch.masks[term.mask]


def pixel(scene: Scene, term: Term) -> Tensor:
    """(1/N) |M (G - x)|^2, N the scalars of the whole image (Image2StyleGAN++, equation 1)."""
    return scene.difference(term).square().flatten(1).mean(1)


def noise_pixel(scene: Scene, term: Term) -> Tensor:
    """The noise stage's pixel loss in Image2StyleGAN++'s own units, whatever the image's side.

    Adam's eps makes the absolute scale matter there: gradients are near it, and lr 5 presumes so.
    """
    return scene.difference(term).square().flatten(1).sum(1) * PAPER_NOISE_WEIGHT


def perceptual(scene: Scene, term: Term) -> Tensor:
    """Distance of the features of image and target."""
    features = scene.batch.perceptual.features(scene.image)
    mask = None if term.mask is None else scene.batch.masks[term.mask]
    target = scene.batch.target_features[term.target]
    return metrics.distance(features, target, mask)


def feature_anchor(scene: Scene, term: Term) -> Tensor:
    """mean((F - F0)^2) (Revisiting Latent Space of GAN Inversion, equation 4)."""
    return (scene.latents.feature - scene.batch.start.feature).square().flatten(1).mean(1)


def code_anchor(scene: Scene, term: Term) -> Tensor:
    """mean((w - w0)^2)."""
    return (scene.latents.code - scene.batch.start.code).square().flatten(1).mean(1)


def domain(scene: Scene, term: Term) -> Tensor:
    """mean((z - E(G(z)))^2) (In-Domain GAN Inversion); the gradient goes through both.

    z is the code in W+, as the encoder E gives it.
    """
    guess = scene.batch.encoder(scene.image)
    return (scene.latents.code - guess).square().flatten(1).mean(1)


def p_n(scene: Scene, term: Term) -> Tensor:
    """mean(p_N^2) over the inputs that act (Improved StyleGAN Embedding, equation 3).

    For S the same of its own whitened coordinates.
    """
    space, _ = spaces.parse(scene.latents.space)
    first = scene.latents.first_ws_index(scene.batch.generator)
    return space.mahalanobis_sq(scene.batch.generator, scene.latents.code, first)


TERMS: dict[str, Callable[[Scene, Term], Tensor]] = {
    "pixel": pixel,
    "noise_pixel": noise_pixel,
    "perceptual": perceptual,
    "feature_anchor": feature_anchor,
    "code_anchor": code_anchor,
    "domain": domain,
    "p_n": p_n,
}


def evaluate(scene: Scene, terms: tuple[Term, ...]) -> dict[str, Tensor]:
    """Weighted value (N,) of every term whose weight is not 0; a mask is named behind the term."""
    values = {}
    for term in (term for term in terms if term.weight):
        if term.name not in TERMS:
            raise ValueError(f'there is no term "{term.name}"; choose one of {", ".join(TERMS)}')
        name = term.name if term.mask is None else f"{term.name}[{term.mask}]"
        value = TERMS[term.name](scene, term) * term.weight
        values[name] = values[name] + value if name in values else value
    return values
