"""Agents that are not honest, and how well each defence holds against them: an experiment on the simulated fleet."""
