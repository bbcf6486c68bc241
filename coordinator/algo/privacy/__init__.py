"""Central differential privacy: merges that one agent can move by a known bound only, and the noise that hides it."""
