"""The commands of `facsimile`: one file each, with its options as a dataclass and `run`."""
