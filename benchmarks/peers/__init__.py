"""The ways of others, written by their published descriptions, for the same networks as ours."""
