"""Local differential privacy: noise before anything leaves, a ledger of what it cost, a stop."""
