"""What agents and worker share of differential privacy: noise that cannot be guessed, and what it bounds."""
