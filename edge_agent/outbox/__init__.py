"""Deltas on disk until they are merged or rejected, and the thread that sends them."""
