"""The program `facsimile`; `python -m facsimile` is the same."""

from .threads import LoadMeter, wait_without_spinning


def main() -> None:
    """Entry point; leaves with the exit status. The load is measured while torch is imported."""
    wait_without_spinning()
    meter = LoadMeter()
    from . import cli  # imports torch

    cli.main(meter=meter)


if __name__ == "__main__":
    main()
