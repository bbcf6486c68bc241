"""Federations in one file: written while they are live, checked without a store, restored into another one."""
