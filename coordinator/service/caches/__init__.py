"""What polls are answered from: memory, kept fresh beside the store."""
