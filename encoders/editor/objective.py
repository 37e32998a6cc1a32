"""The recipe `editor`: the feature editor, trained on edited samples and on photos without an edit.

Legend: N images of a batch slice, C channels, R image resolution, L style inputs, D numbers in w.
"The Devil is in the Details: StyleFeatureEditor for Detail-Rich StyleGAN Inversion and High Quality
Image Editing", section 3.3. There pairs are pictures of in-domain codes before and after an edit;
here they are samples, crossed and mixed, and pictures of photos' in-domain codes. Edited photos,
for which there is no such pair, may be added.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facsimile.data.landmarks import SmallLandmarker
from facsimile.stylegan import freeze
from facsimile.stylegan.statistics import principal_directions
from facsimile.training import BatchSlice, Distributed

from ..adversarial_recipe import AdversarialRecipe
from ..difference.faces import detect_landmarks
from .edits import NUMBERS, random_changes
from .network import EditorConfig, FeatureEditor
from .settings import EditorSettings

OWN_SHARE = 2 / 3
"""Of the photos; the others lend their in-domain codes to samples. These stay unedited, or every
second one is edited if the settings have terms for edited photos."""
EXACT_SHARE = 0.5
"""Of the samples: edited from their true codes, as if the in-domain encoder made no error."""
SMALLEST_DISPLACEMENT = 0.004
"""Of landmarks, as a share of the side; edits that move them less count less."""
EVAL_STRENGTH = 2.0
"""Of the edits on sheets and in scores, in standard deviations of w."""
EVAL_COMPONENTS = 6
"""Principal components of these edits."""


class Pairs(NamedTuple):
    """The training images of a batch slice, and what their edits should give."""

    image: Tensor
    """x (N, C, R, R)"""
    target: Tensor
    """y (N, C, R, R): the sample of the edited code; for an unedited photo the photo itself; for an
    edited photo the image of its edited in-domain code, which is only compared with `ws`'s."""
    ws: Tensor
    """w (N, L, D): in-domain codes of x, or the true ones."""
    change: Tensor
    """(N, L, D) of the codes; 0 for unedited photos."""
    is_edited_photo: Tensor
    """(N,) bool"""
    label: Tensor | None
    """(N, c_dim) of a conditional generator."""


class Edited(NamedTuple):
    """The pairs, and the edited images."""

    pairs: Pairs
    image: Tensor
    """(N, C, R, R), see `EditorRecipe._edit`."""


class EditorRecipe(AdversarialRecipe):
    """Give edited samples by the feature of the unedited ones, photos by their own, and if asked
    for edited photos that go as far as their in-domain codes and stay the same person."""

    settings: EditorSettings
    betas = (0.9, 0.99)

    def __init__(self, settings: EditorSettings, distributed: Distributed):
        super().__init__(settings, distributed)
        directions = principal_directions(self.generator)[: settings.edits.components]
        self.directions = directions.to(self.device, settings.dtype)
        if settings.adversarial_weight and settings.edits_photos:
            self._add_critic(trained=False)
        self.landmarker: SmallLandmarker | None = None
        if settings.landmark_weight and distributed.landmark_network is not None:
            self.landmarker = SmallLandmarker(distributed.landmark_network, self.device)
            self.landmarker.network.to(settings.dtype)

    def _load_networks(self) -> Any:
        """The generator's networks; its feature encoder and its in-domain encoder stay here."""
        settings, networks = self.settings, super()._load_networks()
        generator, encoders = settings.sampling.generator, networks.encoders
        named = [x for x in (settings.feature, settings.in_domain) if x is not None]
        if named:
            encoders = self.distributed.load_networks(generator, encoders=named).encoders
        for kind in ("feature", "in-domain"):
            if not encoders.has(kind):
                raise ValueError(
                    f"a feature editor needs the {kind} encoder, and there is none: name one with "
                    f"--{kind}, trained by: facsimile train {kind} --generator {generator}"
                )
        feature, in_domain = encoders.get("feature"), encoders.get("in-domain")
        self._encoder_fingerprints = {x.kind: x.fingerprint for x in (feature, in_domain)}
        self.feature, self.in_domain = (
            freeze(x.network).to(self.device, settings.dtype) for x in (feature, in_domain)
        )
        return networks

    def _build(self) -> nn.Module:
        layer, settings = self.feature.config.layer, self.settings
        config = EditorConfig.for_generator(self.generator, layer, settings.width)
        return FeatureEditor(
            replace(config, residual_weight=settings.residual_weight, gate=settings.gate)
        )

    def _fingerprints(self) -> dict[str, str]:
        return super()._fingerprints() | {
            f"{kind} encoder": value for kind, value in self._encoder_fingerprints.items()
        }

    # One step -------------------------------------------------------------------------------------

    def forward(self, batch: BatchSlice) -> Edited:
        pairs = self._pairs(batch)
        return Edited(pairs, self._edit(self.encoder, pairs.image, pairs.ws, pairs.change))

    def losses(self, name: str, batch: BatchSlice, shared: Edited) -> dict[str, Tensor]:
        """mean((y' - y)^2) + |phi(y') - phi(y)|^2 + lambda |e(y') - e(y)|^2, y' from `_edit`;
        for edited photos the terms of `_photo_losses`."""
        pairs, weight = shared.pairs, self.settings.identity.identity_weight
        # An edited photo has no target: its own image costs nothing.
        no_target = pairs.is_edited_photo[:, None, None, None]
        target = torch.where(no_target, shared.image.detach(), pairs.target)
        features = self._target_features(target)
        losses = self._picture_losses(shared.image, target, features, identity_weight=weight)
        return losses | self._photo_losses(shared)

    def _photo_losses(self, shared: Edited) -> dict[str, Tensor]:
        """Means over the batch, in which all but edited photos count as 0, of

            max(0, 1 - <d', d> / |d|^2)^2,  lambda_id |e(y') - e(x)|^2,  softplus(-D(y'))

        with the change d' of the features phi by the edit, and the change d by the same edit of the
        in-domain code. Not in the paper: the first says how far an edit goes, as `evaluate` does.
        It comes again with the change of landmarks, where a face is detected in all images.
        """
        settings, pairs = self.settings, shared.pairs
        if not settings.edits_photos:
            return {}
        # One at least, if only to count as 0: all processes have the same terms.
        chosen = pairs.is_edited_photo.nonzero()[:, 0]
        if not len(chosen):
            chosen = torch.zeros_like(pairs.is_edited_photo[:1], dtype=torch.long)
        weight = pairs.is_edited_photo[chosen].to(settings.dtype) / len(pairs.image)
        terms = {}
        edited, photo = shared.image[chosen], pairs.image[chosen]
        if self.identity is not None:
            error = self.identity.embed(edited) - self.identity.embed(photo)
            terms["photo identity"] = settings.photo_identity_weight * error.square().sum(1)
        if self.critic is not None:
            label = None if pairs.label is None else pairs.label[chosen]
            logits = self._discriminate(edited, label)[:, 0]
            terms["adversarial"] = settings.adversarial_weight * F.softplus(-logits)
        with torch.no_grad(), settings.autocast(self.device):
            prediction = self.feature.predict(photo, self.generator)
            own = self.generator.synthesize(prediction.ws, start=prediction.feature)
            in_domain = self.generator.synthesize(pairs.ws[chosen])
        images = [x.to(settings.dtype) for x in (own, edited, in_domain, pairs.target[chosen])]
        own, edited, before, after = (self._descriptor(x) for x in images)
        goes = _share_of(edited - own, after - before)
        terms["distance"] = settings.distance_weight * F.relu(1 - goes).square()
        if self.landmarker is not None:
            detected = detect_landmarks(self.landmarker, torch.cat(images).clamp(-1, 1))
            is_face = detected.is_face.view(len(images), -1).all(0)
            points = detected.points.flatten(1) / self.generator.resolution
            own, edited, before, after = points.chunk(len(images))
            smallest = points.shape[1] / 2 * SMALLEST_DISPLACEMENT**2
            goes = _share_of(edited - own, after - before, smallest)
            # Where the edit moves nothing, so that the share says nothing, this is 0.
            falls_short = F.relu(1 - goes).square() * is_face
            moves = (after - before).square().sum(1)
            falls_short = falls_short * moves / (moves + smallest)
            terms["landmarks"] = settings.landmark_weight * falls_short
        return {f"encoder/{name}": (weight * x).sum() for name, x in terms.items()}

    def _edit(self, editor: nn.Module, image: Tensor, ws: Tensor, change: Tensor) -> Tensor:
        """The images (N, C, R, R) after a change of their codes.

            G(w' + change, H(F', delta)),  delta = F(ws + change) - F(ws)

        with the feature encoder's w' and F' of the image, its in-domain codes ws (N, L, D), and the
        editor's share of these: see `FeatureEditor.in_domain_share`.
        """
        synthesize = self.generator.synthesize
        with self.settings.autocast(self.device):
            with torch.no_grad():
                prediction = self.feature.predict(image, self.generator)
                before, after = (
                    synthesize(x, stop=self.encoder.config.layer) for x in (ws, ws + change)
                )
                feature, rgb = prediction.feature, prediction.feature.rgb
                if rgb is not None and after.rgb is not None:
                    rgb = rgb + (after.rgb - before.rgb)
            delta = after.x - before.x
            share = editor.in_domain_share(delta)
            feature = feature._replace(x=editor(feature.x, delta), rgb=rgb).lerp(after, share)
            code = torch.lerp(prediction.ws, ws, share.mean((2, 3))[:, :, None]) + change
            edited = synthesize(code, start=feature)
        return edited.to(self.settings.dtype)

    @torch.no_grad()
    def _pairs(self, batch: BatchSlice) -> Pairs:
        numbers = self.sampler.numbers
        uniform = numbers("pair", batch, torch.rand, 2).to(self.device)
        targets = self._targets(batch)
        is_sample, ws, photo = targets.is_sample, targets.ws, targets.image
        lends_code = ~is_sample & (uniform[:, 0] >= OWN_SHARE)
        is_edited_photo = ~is_sample & ~lends_code & (uniform[:, 0] >= OWN_SHARE / 2)
        is_edited_photo = is_edited_photo & self.settings.edits_photos
        from_photo = lends_code | is_edited_photo
        if from_photo.any():
            ws = ws.index_put((from_photo,), self._predict_ws(photo[from_photo]))
        is_edited = is_sample | from_photo
        other, _ = self._mixed_codes(batch, 1)
        change = random_changes(
            self.settings.edits,
            self.directions,
            ws,
            other,
            numbers("edit", batch, torch.rand, NUMBERS).to(ws),
        )
        change = change * is_edited[:, None, None]
        image = target = photo
        if lends_code.any():
            image = image.index_put((lends_code,), self._sample_images(ws[lends_code]))
        if is_edited.any():
            edited = self._sample_images((ws + change)[is_edited])
            target = target.index_put((is_edited,), edited)
        has_codes = is_edited_photo | (is_edited & (uniform[:, 1] < EXACT_SHARE))
        ws = torch.where(has_codes[:, None, None], ws, self._predict_ws(image))
        return Pairs(image, target, ws, change, is_edited_photo, targets.label)

    @torch.no_grad()
    def _predict_ws(self, image: Tensor) -> Tensor:
        """In-domain codes (N, L, D) by one forward pass; the encoder's iterations would cost more
        than all else."""
        with self.settings.autocast(self.device):
            return self.in_domain(image).to(self.settings.dtype)

    # Evaluation -----------------------------------------------------------------------------------

    def _reconstruct(self, encoder: nn.Module, images: Tensor, ws: Tensor) -> Tensor:
        """Without an edit."""
        return self._edit(encoder, images, ws, torch.zeros_like(ws))

    @torch.no_grad()
    def _eval_edits(self, source: str, count: int) -> Iterator[tuple[Tensor, ...]]:
        """(image, ws, change), in batches: in-domain codes of held-out images, and a change along
        one component after another, in both directions."""
        directions, number = self.directions[:EVAL_COMPONENTS], 0
        for image, _ in self._eval_batches(source, count):
            ws = self.in_domain.encode(image, self.generator.synthesize)
            numbers = number + torch.arange(len(ws), device=self.device)
            number += len(ws)
            sign = 1 - 2 * (numbers // len(directions) % 2)
            step = EVAL_STRENGTH * sign[:, None] * directions[numbers % len(directions)]
            yield image, ws, step[:, None].expand_as(ws)

    def sample_grid(self) -> list[Tensor]:
        """Image, the image of its in-domain code after an edit, its own after the edit, ..:
        held-out samples, then photos."""
        images, count = [], self.settings.evaluation.num_samples
        for source in self._eval_sets():
            for image, ws, change in self._eval_edits(source, count):
                edited = self._edit(self.ema, image, ws, change)
                rows = [image, self.generator.synthesize(ws + change), edited]
                images += torch.stack(rows, 1).clamp(-1, 1).flatten(0, 1).unbind()
        return [x.expand(3, -1, -1) if len(x) == 1 else x[:3] for x in images]

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Mean errors without an edit, and how far edits go; of held-out samples, and of photos.

        How far: the change of perceptual features (or of pixels) by an edit, projected on their
        change between the in-domain codes' images; 1 is all the way.
        """
        scores, count = super().evaluate(), self.settings.evaluation.eval_images
        for source in self._eval_sets():
            shares = []
            for image, ws, change in self._eval_edits(source, count):
                edited = [self._edit(self.ema, image, ws, x) for x in (0 * change, change)]
                in_domain = [self.generator.synthesize(x) for x in (ws, ws + change)]
                actual, expected = (
                    self._descriptor(after) - self._descriptor(before)
                    for before, after in (edited, in_domain)
                )
                shares.append(_share_of(actual, expected))
            scores[f"{source}/edit share"] = float(torch.cat(shares).mean())
        return scores

    def _descriptor(self, image: Tensor) -> Tensor:
        """(N, ..): perceptual features, or pixels."""
        image = image.clamp(-1, 1)
        features = [image] if self.perceptual is None else self.perceptual.features(image)
        return torch.cat([x.flatten(1) for x in features], 1)


def _share_of(actual: Tensor, expected: Tensor, smallest: float = 0.0) -> Tensor:
    """(N,): how far the changes (N, ..) go along those expected; 1 is all the way.

    smallest: square of a length; of shorter changes, the share is of one so long.
    """
    size = expected.square().sum(1)
    return (actual * expected).sum(1) / size.clamp_min(smallest or torch.finfo(size.dtype).tiny)
