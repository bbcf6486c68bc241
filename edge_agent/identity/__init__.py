"""The agent's identity: a key that is made here and never leaves, and certificates for it."""
