"""What a delta's encoding costs in bytes, in error and in the final loss: `alignfed bench encodings`."""
