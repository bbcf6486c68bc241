"""The time a fleet of unequal agents takes to a loss: Flower's synchronous rounds against AlignFed, same everything."""
