"""Which system calls a sandbox leaves: what arithmetic, memory and reading files need.

Everything else is refused, so a call that a later kernel adds is refused too. Writing is no matter
here: opening a file to write is the same call as opening it to read, and Landlock tells them apart.
"""

from __future__ import annotations

import errno
import tempfile
from functools import lru_cache
from typing import Any

from wardround.host.sandbox.kernel import CLONE_NEWUSER

_COMPUTE = """
    arch_prctl brk clock_getres clock_gettime clock_nanosleep close close_range dup dup2 dup3
    epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 exit exit_group futex getcpu getcwd
    getegid geteuid getgid getpid getppid getrandom getrusage gettid gettimeofday getuid madvise
    membarrier mmap mprotect mremap munmap nanosleep pipe2 poll ppoll pselect6 restart_syscall rseq
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getparam
    sched_getscheduler sched_yield select set_robust_list set_tid_address sigaltstack sysinfo time
    times uname
"""
_FILES = """
    access faccessat faccessat2 fstat getdents64 lseek newfstatat open openat pread64 preadv read
    readlink readlinkat readv stat lstat statx write writev
"""
#: Of the one socket that was there before; there are no others.
_SOCKET = "getsockname getsockopt recvfrom sendto shutdown"
#: What a process needs beside, to start others of its kind and to end them.
_FORK = """
    capget capset clone fork fcntl ioctl kill landlock_add_rule landlock_create_ruleset
    landlock_restrict_self pidfd_open pidfd_send_signal prctl prlimit64 recvmsg sched_setaffinity
    seccomp sendmsg setrlimit setsid tgkill wait4 waitid
"""
#: What the drivers of graphics processors call as well.
_GRAPHICS = """
    fstatfs get_mempolicy ioctl mbind mlock mlock2 munlock sched_setaffinity statfs
"""

_CLONE_THREAD = 0x00010000
#: CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
_CLONE_NEW = 0x80 | 0x7E020000
_PR_NAMES = (16, 0x53564D41)  # PR_GET_NAME, PR_SET_VMA
_FCNTL = (0, 1, 2, 3, 4, 1030)  # F_DUPFD, GETFD, SETFD, GETFL, SETFL, DUPFD_CLOEXEC
#: TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
_BINARY_TREE = 2


def is_offered() -> bool:
    """Whether libseccomp is there to write a filter."""
    try:
        _library()
    except (ImportError, RuntimeError, OSError):
        return False
    return True


@lru_cache(maxsize=8)
def compiled(*, forks: bool = False, graphics: bool = False) -> bytes:
    """Write the filter, for `kernel.load_filter`.

    Args:
        forks: leave what a process needs to fork others and to confine them.
        graphics: leave what drivers of graphics processors need.
    Returns:
        The kernel's ``sock_filter`` instructions, for this machine's architecture.
    Raises:
        OSError: libseccomp refuses; RuntimeError or ImportError where it is missing.
    """
    library = _library()
    program = library.SyscallFilter(library.ERRNO(errno.EPERM))
    program.set_attr(library.Attr.CTL_OPTIMIZE, _BINARY_TREE)
    names = f"{_COMPUTE} {_FILES} {_SOCKET} {_FORK if forks else ''}"
    for name in dict.fromkeys(f"{names} {_GRAPHICS if graphics else ''}".split()):
        _add(library, program, library.ALLOW, name)
    # Its flags are behind a pointer, which no filter can follow; glibc then takes `clone`.
    _add(library, program, library.ERRNO(errno.ENOSYS), "clone3")
    if not forks:
        thread = library.Arg(0, library.MASKED_EQ, _CLONE_THREAD | _CLONE_NEW, _CLONE_THREAD)
        _add(library, program, library.ALLOW, "clone", thread)
        # A limit of one's own may be read and lowered.
        _add(library, program, library.ALLOW, "prlimit64", library.Arg(0, library.EQ, 0))
        only = {"prctl": (0, _PR_NAMES), "fcntl": (1, _FCNTL)}
        only |= {} if graphics else {"ioctl": (1, _IOCTL)}
        for name, (place, values) in only.items():
            for value in values:
                _add(library, program, library.ALLOW, name, library.Arg(place, library.EQ, value))
    else:
        own = library.Arg(0, library.EQ, CLONE_NEWUSER)
        _add(library, program, library.ALLOW, "unshare", own)
    with tempfile.TemporaryFile() as file:
        program.export_bpf(file)
        file.seek(0)
        return file.read()


def _add(library: Any, program: Any, action: int, name: str, *arguments: Any) -> None:
    number = library.resolve_syscall(library.Arch.NATIVE, name)
    # Some have another name, or none, on another architecture.
    if number >= 0:
        program.add_rule(action, number, *arguments)


def _library() -> Any:
    # Where libseccomp is missing, importing this raises; it looks for it by starting a program.
    import pyseccomp

    return pyseccomp
