"""--init-from: what fits of a trained encoder, and in words what does not."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

MAX_PARTS = 8
"""Parts that a sentence names; it counts the others."""


def take_over(network: nn.Module, trained: nn.Module) -> str:
    """Copy the tensors of `trained` that fit, by name and shape; returns what does not, in words.

    Raises ValueError, and copies nothing, if no weight fits.
    """
    ours, theirs = network.state_dict(), trained.state_dict()
    fitting = {
        name: x for name, x in theirs.items() if name in ours and x.shape == ours[name].shape
    }
    weights = {name for name, _ in network.named_parameters()}
    if not weights & fitting.keys():
        raise ValueError(
            "none of its weights has the name and the shape of one here; --init-from takes an "
            "encoder of the same kind, or one that shares a part with it"
        )
    network.load_state_dict(ours | fitting)
    return "; ".join(
        f"{label} {', '.join(names)}"
        for label, names in (
            ("not in it:", parts(ours, fitting)),
            ("does not fit:", parts(theirs, fitting)),
        )
        if names
    )


def parts(tensors: Mapping[str, Tensor], fitting: Iterable[str]) -> list[str]:
    """The tensors that are not among the fitting ones, as names of whole parts where possible."""
    fitting, names = set(fitting), []
    for name in tensors:
        if name in fitting:
            continue
        words = name.split(".")
        prefixes = (".".join(words[: i + 1]) for i in range(len(words)))
        part = next(
            prefix
            for prefix in prefixes
            if prefix == name or not any(x.startswith(f"{prefix}.") for x in fitting)
        )
        if part not in names:
            names.append(part)
    rest = len(names) - MAX_PARTS
    return names if rest <= 0 else [*names[:MAX_PARTS], f"and {rest} more"]
