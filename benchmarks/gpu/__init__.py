"""Whether a GPU computes what the CPU does, and how fast: python -m benchmarks.gpu."""
