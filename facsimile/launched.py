"""What `accelerate launch -m facsimile ..` asks of a process, by environment variables."""

from collections.abc import Mapping


def launched_device(name: str, environment: Mapping[str, str], *, cuda: bool) -> str:
    """The name of the device that the launcher gives this process, or `name` without a launcher.

    name: what was asked for, such as "auto" or "cuda:1". cuda: whether this machine has a GPU for
    PyTorch. Raises ValueError where the launcher contradicts it.
    """
    local = environment.get("LOCAL_RANK")
    if local is None:
        return name
    if environment.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"):
        if name.startswith("cuda"):
            raise ValueError(
                f"the launcher asks for the CPU, and --device is {name}; launch without --cpu, or "
                "leave --device out"
            )
        return "cpu"
    given = f"cuda:{local}"
    if name.startswith("cuda:") and name != given:
        raise ValueError(
            f"the launcher gives this process {given}, and --device is {name}; leave --device out"
        )
    return given if name.startswith("cuda") or (name == "auto" and cuda) else name


def is_first_process(environment: Mapping[str, str]) -> bool:
    """Whether this process does what cannot be shared; also without a launcher."""
    return environment.get("RANK", "0") == "0"
