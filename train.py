"""`facsimile train` for a checkout, with the same arguments: see facsimile/commands/train.py."""

import sys

from facsimile.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
