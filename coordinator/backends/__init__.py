"""Stores behind the ports: memory, and Redis or Valkey."""
