"""The edge agent: trains on private data, uploads deltas, follows the head."""
