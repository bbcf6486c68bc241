"""A store in this process' memory, for tests and simulations: every port, same semantics as Redis, nothing durable.

No method suspends, so each runs as one atomic step of the event loop.
"""

from coordinator.backends.memory.store import MemoryStore

__all__ = ["MemoryStore"]
