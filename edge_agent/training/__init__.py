"""Local training: the protocol a training loop fits, ours with peft, and the delta that comes of it."""
