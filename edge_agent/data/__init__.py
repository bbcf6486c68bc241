"""Private data: found, read, tokenised and dealt out in batches. It never leaves this package but as batches."""
