"""Which networks let the features of latents follow an edit of their codes.

Legend: N images, L style inputs, D numbers in w, R resolution of the generator.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from facsimile import encoders
from facsimile.checkpoints import EncoderSet
from facsimile.editing import Edit
from facsimile.editing.feature_transport import FeatureTransport
from facsimile.stylegan import Generator, Latents

EDITOR, IN_DOMAIN = "editor", "in-domain"
STAY = "features do not follow the codes, but stay or are mixed linearly"


def find_transport(
    generator: Generator, encoder_set: EncoderSet, edit: Edit, latents: Sequence[Latents]
) -> tuple[FeatureTransport | None, str]:
    """(transport for the edit, a note on the features of the latents, "" if there are none).

    There is a transport if the generator has a feature editor and an in-domain encoder, and all
    features are of the editor's layer; otherwise the note says what is missing. Raises ValueError
    for a damaged encoder.
    """
    with_feature = [one for one in latents if one.feature is not None]
    if not (edit.moves_codes and with_feature):
        return None, ""
    transport, problem = open_transport(generator, encoder_set, with_feature)
    if transport is None:
        return None, f"{STAY}: {problem}"
    return transport, f"features of {transport.layer} follow the codes by the feature editor"


def open_transport(
    generator: Generator, encoder_set: EncoderSet, latents: Sequence[Latents]
) -> tuple[FeatureTransport | None, str]:
    """(transport for latents with features, ""), or (None, why there is none).

    Raises ValueError for a damaged encoder.
    """
    missing = [kind for kind in (EDITOR, IN_DOMAIN) if not encoder_set.has(kind)]
    if missing:
        names = " and no ".join(f"{kind} encoder" for kind in missing)
        commands = " and ".join(f"facsimile train {kind}" for kind in missing)
        return None, f"this generator has no {names}; run {commands}"
    editor = encoder_set.get(EDITOR).network
    predict_ws = in_domain_encoder(generator, encoder_set)
    transport = FeatureTransport(editor.config.layer, predict_ws, editor, editor.in_domain_share)
    for one in latents:
        if not transport.fits(generator, one):
            return None, (
                f'the latents are in "{one.space}" with a feature of {one.layer}, and the '
                f"editor is for features of {transport.layer} beside codes of W+"
            )
    return transport, ""


def in_domain_encoder(generator: Generator, encoder_set: EncoderSet) -> Callable[[Tensor], Tensor]:
    """Images (N, img_channels, R, R) in [-1, 1] -> codes (N, L, D) in W+; ValueError for none."""
    network = encoder_set.get(IN_DOMAIN).network

    def predict_ws(images: Tensor) -> Tensor:
        return encoders.encode(network, generator, images, "w+").code

    return predict_ws
