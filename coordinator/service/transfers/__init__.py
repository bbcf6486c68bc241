"""Payloads on their way in and out, a chunk at a time."""
