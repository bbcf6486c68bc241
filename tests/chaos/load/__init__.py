"""Agents by the hundred that wait, stall, or fill the store, and what that costs a coordinator."""
