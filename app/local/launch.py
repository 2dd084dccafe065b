"""Becomes another program with the same pid: tied to its parent's life, or under another user.

Run by processes.py as a file of its own (`python -I -S launch.py OPTIONS -- ARGV`), so that nothing has to run between
fork and exec in a parent that may have threads. It needs the standard library only. Linux.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import pwd
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_KEEPCAPS: Final = 8
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAP_DAC_OVERRIDE: Final = 1
_CAP_DAC_READ_SEARCH: Final = 2

_libc = ctypes.CDLL(None, use_errno=True)


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapData(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def die_with_parent(signal_number: int, parent: int) -> None:
    """Have the kernel send `signal_number` to this process when the parent's thread that started it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:  # the parent ended before the request reached the kernel
        sys.exit(f"parent {parent} is gone")


def become(user: str) -> None:
    """Give up root for `user`, keeping the right to pass through folders that only root may enter.

    Without that right a program under /root could not be read by the user it runs as, and the folders on the way would
    have to be opened to everybody.
    """
    entry = pwd.getpwnam(user)
    _libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ["HOME"] = "/"
    _keep_search_right()


def _keep_search_right() -> None:
    """Keep the weaker of the two capabilities that allow it; containers often grant only the stronger one."""
    header = _CapHeader(_CAPABILITY_VERSION_3, 0)
    data = (_CapData * 2)()
    if _libc.capget(ctypes.byref(header), ctypes.byref(data)) != 0:
        return
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        bit = 1 << capability
        if data[0].permitted & bit:
            data[0] = _CapData(bit, bit, bit)
            data[1] = _CapData(0, 0, 0)
            if _libc.capset(ctypes.byref(header), ctypes.byref(data)) == 0:
                _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)
            return


def main() -> None:
    """Apply the options, then exec ARGV; exits 127 with a message when it cannot be executed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--user")
    parser.add_argument("--parent", type=int)
    parser.add_argument("--parent-death-signal", type=int)
    parser.add_argument("argv", nargs="+")
    options = parser.parse_args()
    if options.user:  # first: a change of user clears the parent-death signal
        become(options.user)
    if options.parent_death_signal:
        die_with_parent(options.parent_death_signal, options.parent)
    try:
        os.execvp(options.argv[0], options.argv)
    except OSError as error:
        print(f"cannot run {options.argv[0]}: {error}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main()
