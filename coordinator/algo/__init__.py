"""The aggregation method: pure torch, no I/O."""
