"""Payloads as objects: in a bucket of an object store, or in files; Redis keeps the records of them."""
