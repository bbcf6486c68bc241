"""A long life of a federation, and what grows while it lasts."""
