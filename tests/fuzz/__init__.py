"""Fuzzers: hostile input must end in a typed error or in a value that holds what its type promises."""
