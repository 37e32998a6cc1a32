"""What `accelerate launch` asks for by environment variables: obeyed, or refused in a sentence."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from accelerate.utils import str_to_bool

from .settings import TrainingSettings

Settings = TypeVar("Settings", bound=TrainingSettings)

UNSUPPORTED = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
}
"""Switches of the launcher for ways to divide a network over devices."""


def obey_launcher(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """The settings with what the launcher asks for.

    Raises ValueError if it asks for something that is not supported or that a flag contradicts.
    """
    for variable, name in UNSUPPORTED.items():
        if str_to_bool(environment.get(variable, "false")):
            raise ValueError(
                f"the launcher asks for {name}, and train runs plain data parallelism: every "
                f"process holds the whole networks; launch without {name}"
            )
    backend = environment.get("ACCELERATE_DYNAMO_BACKEND", "no")
    if backend.lower() != "no":
        raise ValueError(
            f"the launcher asks for --dynamo_backend {backend.lower()}, and train does not compile "
            "networks, as their second derivatives cannot be; launch without it"
        )
    _check_precision(settings, environment.get("ACCELERATE_MIXED_PRECISION", "no").lower())
    if str_to_bool(environment.get("ACCELERATE_USE_CPU", "false")):
        if settings.device == "cuda":
            raise ValueError(
                "the launcher asks for the CPU, and --device is cuda; launch without --cpu, or "
                "leave --device out"
            )
        settings = replace(settings, device="cpu")
    return _with_accumulation(settings, environment)


def _check_precision(settings: TrainingSettings, precision: str) -> None:
    """The launcher also sends "no" if nobody chose, so --precision decides then."""
    if precision in ("no", settings.precision):
        return
    remedy = "give --precision bf16 too" if precision == "bf16" else "train offers bf16 or none"
    raise ValueError(
        f"the launcher asks for --mixed_precision {precision}, and --precision is "
        f"{settings.precision}; {remedy}"
    )


def _with_accumulation(settings: Settings, environment: Mapping[str, str]) -> Settings:
    steps = int(environment.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1"))
    if steps == 1 or steps == settings.accumulate:
        return settings
    if settings.accumulate != 1:
        raise ValueError(
            f"the launcher asks for {steps} gradient accumulation steps, and --accumulate is "
            f"{settings.accumulate}; give one of them"
        )
    return replace(settings, accumulate=steps)
