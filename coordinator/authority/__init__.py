"""Certificates: the authorities of a deployment, and what they sign. Nothing here listens or stores."""
