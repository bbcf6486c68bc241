"""What processes log: one line per event, JSON for machines or text for people."""
