"""`facsimile train` for a checkout, with the same arguments: see facsimile/commands/train.py."""

import sys

from facsimile.threads import wait_without_spinning

if __name__ == "__main__":
    wait_without_spinning()
    from facsimile.commands.train import main  # imports torch

    sys.exit(main())
