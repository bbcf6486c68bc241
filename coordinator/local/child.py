"""Becomes another program that cannot outlive the process which started it (Linux).

Run as `python -m coordinator.local.child PARENT_PID PROGRAM ARGUMENT...`. The kernel is asked to kill this process when
the thread that started it ends, and the request survives `exec`. Asking here, in a process of its own, needs no code
between fork and exec of the parent, where threads of gRPC or torch may hold locks.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Ask for the parent's death to be ours, then become the program.

    Args:
        arguments: The parent's process id, then the program with its arguments.
    """
    parent, *program = arguments
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != int(parent):
            sys.exit(1)  # the parent died before the request was made
    os.execv(program[0], program)  # noqa: S606 - the point of this module


if __name__ == "__main__":
    main(sys.argv[1:])
