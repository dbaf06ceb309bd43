"""The first moments of every started program: ties it to its parent, drops its rights, becomes it.

Run as a file: `python -I -S leash.py PARENT SIGNAL NICE UID GID COMMAND...`, with `-` for a UID and
GID to keep. A step of its own instead of `preexec_fn`, which is unsafe beside threads.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int, signal: int) -> None:
    """Have the system send `signal` to this process, through every exec, when its parent ends."""
    if sys.platform != "linux":
        return  # elsewhere the guardian and the pid files stop what is left

    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent ended before this program began")


def main() -> None:
    parent, signal, nice, uid, gid, *command = sys.argv[1:]
    if nice != "0":
        os.nice(int(nice))
    if uid != "-":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))

    # After the change of user, which would clear it.
    die_with(int(parent), int(signal))
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main()
