"""`python -m facsimile` is the command `facsimile`."""

from .cli import main

if __name__ == "__main__":
    main()
