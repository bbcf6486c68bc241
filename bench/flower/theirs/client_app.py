"""Flower wants every app to have one; `node.py` stands in for what would run it."""

from __future__ import annotations

from flwr.clientapp import ClientApp

app = ClientApp()
