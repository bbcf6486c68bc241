"""Generated messages and services of the contract, package `alignfed.v1`."""
