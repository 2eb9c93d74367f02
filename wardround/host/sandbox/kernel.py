"""The system calls that Python has no names for, with the kernel's own constants.

Source:
    The kernel's headers: linux/prctl.h, linux/capability.h, linux/landlock.h, linux/seccomp.h.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
_CAPABILITIES = 64
_CAPABILITY_VERSION = 0x20080522
#: Of Landlock; the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION, _RULE_PATH_BENEATH, _LOG_SAME_EXEC_OFF = 1, 1, 1
_LOG_ABI = 7
_INSTRUCTION_BYTES = 8
CLONE_NEWUSER = 0x10000000


class _RulesetAttr(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def end_with_the_parent() -> None:
    """Have the kernel kill this process when the thread that forked it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def count_threads_apart() -> None:
    """Enter a user namespace of one's own, in which the limit of threads counts this process alone.

    It must have one thread. A signal of `end_with_the_parent` is forgotten.

    Raises:
        OSError: the kernel refuses it.
    """
    _checked(_libc().unshare(CLONE_NEWUSER))


def hide_memory() -> None:
    """Let no process of the same user read this one's memory, nor a crash write it down."""
    _prctl(_PR_SET_DUMPABLE, 0)


def gain_nothing() -> None:
    """Give up every capability, and the ways to gain one by starting a program."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    for capability in range(_CAPABILITIES):
        # Refused to an ordinary user, who has none to drop; the kernel knows fewer than these.
        _libc().prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    _checked(_libc().capset(header, (ctypes.c_uint32 * 6)()))


def load_filter(program: bytes) -> None:
    """Filter this thread's system calls, and those of the threads it will start.

    Args:
        program: of `system_calls.compiled`, in the form of the kernel's ``sock_filter``.
    Raises:
        OSError: the kernel refuses it.
    """
    found = _FilterProgram(len(program) // _INSTRUCTION_BYTES, program)
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(found))


def landlock_abi() -> int:
    """The version of Landlock that the kernel has; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    found = _libc().syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    return max(0, int(found))


@contextmanager
def ruleset(files: int, network: int, scopes: int) -> Iterator[int]:
    """Open a set of Landlock's rules: what they forbid unless a rule allows it.

    Raises:
        OSError: the kernel refuses it.
    """
    attributes = _RulesetAttr(files, network, scopes)
    size = ctypes.sizeof(attributes)
    descriptor = _checked(_libc().syscall(_CREATE_RULESET, ctypes.byref(attributes), size, 0))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def allow_beneath(rules: int, path: str, access: int) -> None:
    """Allow an access to a file, or to a folder and all that is in it.

    Raises:
        OSError: there is no such file; the kernel refuses the access.
    """
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        attributes = _PathBeneathAttr(access, descriptor)
        _checked(_libc().syscall(_ADD_RULE, rules, _RULE_PATH_BENEATH, ctypes.byref(attributes), 0))
    finally:
        os.close(descriptor)


def restrict_self(rules: int, abi: int) -> None:
    """Enter a domain of one's own, under a set of rules.

    Raises:
        OSError: the kernel refuses it.
    """
    # What is refused is not logged where it can be left out: code that is refused a million times
    # must not fill the system's log.
    _checked(_libc().syscall(_RESTRICT_SELF, rules, _LOG_SAME_EXEC_OFF if abi >= _LOG_ABI else 0))


def _prctl(option: int, argument: int, more: int = 0) -> None:
    words = (ctypes.c_ulong(one) for one in (argument, more, 0, 0))
    _checked(_libc().prctl(option, *words))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library
