"""The operator command `alignfed`."""
