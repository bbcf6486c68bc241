"""Server and connection errors into the error tree: the one place that knows redis-py's exceptions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions

from alignfed.errors import StoreCorrupt, StoreFull, StoreUnreachable

_AWAY = (
    exceptions.ConnectionError,  # refused, lost, wrong password, still loading its data
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,  # a replica: a failover is under way, or the address is wrong
    exceptions.ClusterDownError,
    exceptions.ClusterError,
    exceptions.TryAgainError,
    exceptions.AskError,  # redirections that reach us: the address is a Cluster's, or its slots are on the move
    exceptions.RedisClusterException,
    exceptions.NoPermissionError,
    OSError,
)
_REFUSED = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)
_AWAY_CODES = ("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOREPLICAS", "UNBLOCKED", "NOAUTH", "WRONGPASS")
_FULL_CODES = ("OOM", "MISCONF")  # out of memory; cannot write its append-only file, usually because the disk is full


@contextmanager
def translated() -> Iterator[None]:
    """Turn what redis-py raises inside the block into errors of the tree.

    Raises:
        StoreUnreachable: The server does not answer, or not in a state to serve. A write may or may not have happened.
        StoreFull: The server refuses to grow.
        StoreCorrupt: The server answers that a key holds something else than AlignFed writes.
    """
    try:
        yield
    except _AWAY as error:
        raise _unreachable(error) from error
    except exceptions.ResponseError as error:
        code = str(error).partition(" ")[0]
        if isinstance(error, exceptions.OutOfMemoryError) or code in _FULL_CODES:
            raise StoreFull(
                f"the store refuses to grow ({error}): give it more memory or disk, or merge and sweep sooner"
            ) from error
        if code in _AWAY_CODES:
            raise _unreachable(error) from error
        raise StoreCorrupt(
            f"the store refused a command ({error}): use a database that nothing but AlignFed writes to"
        ) from error
    except exceptions.RedisError as error:
        raise _unreachable(error) from error


def may_pass(error: StoreUnreachable) -> bool:
    """Whether trying again soon may help: not against a refused password or a missing right."""
    cause = error.__cause__
    wrapped = cause.__cause__ if cause is not None else None  # redis-py wraps what happens while it connects
    return not isinstance(cause, _REFUSED) and not isinstance(wrapped, _REFUSED)


def _unreachable(error: Exception) -> StoreUnreachable:
    return StoreUnreachable(
        f"the store does not answer ({error or type(error).__name__}): "
        "see that it runs and that its address and password are right"
    )
