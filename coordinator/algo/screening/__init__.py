"""Which deltas may be merged at all: near-zero ones, copies, and agents that work against the calibration set."""
