"""How fast the parts are, as ratios to what this machine can do at all, measured in the same run."""
