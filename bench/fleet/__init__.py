"""Thousands of light agents against a real deployment: what it serves, where it ends, what one agent costs."""
