"""What judges them: what was acknowledged against what the store holds in the end."""
