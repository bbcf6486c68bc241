"""How much faster than Flower the same payloads are taken in and merged, on the same machine in turns."""
