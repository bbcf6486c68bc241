"""`alignfed top`: a live view of federations in a terminal."""
