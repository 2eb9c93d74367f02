"""What code of a study may try against a hospital, one thing at a time; imports Python's own only.

A function that raises has failed. `succeeded` runs them all and names the ones that did not.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
#: x86_64 and aarch64.
NUMBERS = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "memfd_create": (319, 279),
    "perf_event_open": (298, 241),
    "clone3": (435, 435),
    "execveat": (322, 281),
    "open_by_handle_at": (304, 265),
    "pidfd_getfd": (438, 438),
    "shmget": (29, 194),
    "personality": (135, 92),
    "seccomp": (317, 277),
}
FORK_FLAGS = 17  # SIGCHLD: what fork asks clone for
CLONE = (56, 220)
GIB = 1 << 30
HERE = os.uname().machine


def call(name_or_number: str | tuple[int, int], *arguments: object) -> int:
    numbers = NUMBERS[name_or_number] if isinstance(name_or_number, str) else name_or_number
    result = LIBC.syscall(numbers[HERE != "x86_64"], *arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)


class Attempts:
    """Each method is one. None harms the machine where a wall is missing.

    Attributes:
        home: the guard's folder.
        guard: a process of the same user.
        shown: a file that may be read.
    """

    def __init__(self, home: str, guard: int, shown: str) -> None:
        self.home, self.guard, self.shown = Path(home), guard, Path(shown)

    # ---------------------------------------------------------------- the network
    def tcp(self) -> None:
        socket.create_connection(("127.0.0.1", 22), 1)

    def tcp_socket(self) -> None:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM)

    def udp(self) -> None:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()

    def netlink(self) -> None:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)

    def guards_socket(self) -> None:
        socket.socket(socket.AF_UNIX).connect(str(self.home / "guard.sock"))

    def abstract_socket(self) -> None:
        socket.socket(socket.AF_UNIX).bind("\0abstract")

    def socket_pair(self) -> None:
        socket.socketpair()

    # ---------------------------------------------------------------- other processes
    def list_processes(self) -> None:
        list(Path("/proc").iterdir())

    def environment_of_parent(self) -> None:
        Path(f"/proc/{os.getppid()}/environ").read_bytes()

    def memory_of_parent(self) -> None:
        Path(f"/proc/{os.getppid()}/mem").open("rb").close()

    def command_line_of_guard(self) -> None:
        Path(f"/proc/{self.guard}/cmdline").read_bytes()

    def signal_parent(self) -> None:
        os.kill(os.getppid(), 0)

    def kill_guard(self) -> None:
        os.kill(self.guard, signal.SIGKILL)

    def signal_all(self) -> None:
        os.kill(-1, 0)

    def queue_a_signal(self) -> None:
        signal.pidfd_send_signal(os.pidfd_open(self.guard), signal.SIGKILL)

    def signal_by_file(self) -> None:
        ours, _ = os.pipe()
        fcntl.fcntl(ours, fcntl.F_SETOWN, self.guard)

    def trace(self) -> None:
        call("ptrace", 16, os.getppid(), 0, 0)  # PTRACE_ATTACH

    def trace_guard(self) -> None:
        call("ptrace", 0x4206, self.guard, 0, 0)  # PTRACE_SEIZE

    def read_memory(self) -> None:
        call("process_vm_readv", os.getppid(), 0, 0, 0, 0, 0)

    def take_a_descriptor(self) -> None:
        call("pidfd_getfd", 3, 0, 0)

    def slow_down_guard(self) -> None:
        os.setpriority(os.PRIO_PROCESS, self.guard, 19)

    def pin_guard(self) -> None:
        os.sched_setaffinity(self.guard, {0})

    # ---------------------------------------------------------------- processes of its own
    def fork(self) -> None:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    def clone(self) -> None:
        if call(CLONE, FORK_FLAGS, 0, 0, 0, 0) == 0:
            os._exit(0)

    def clone3(self) -> None:
        call("clone3", 0, 0)

    def execute(self) -> None:
        os.execv(sys.executable, [sys.executable, "-c", ""])

    def execute_descriptor(self) -> None:
        call("execveat", -100, sys.executable.encode(), 0, 0, 0)

    def spawn(self) -> None:
        os.posix_spawn("/bin/true", ["true"], {})

    def start_a_program(self) -> None:
        subprocess.run(["true"], check=True)

    # ---------------------------------------------------------------- files
    def read_settings(self) -> None:
        (self.home / "site.toml").read_bytes()

    def read_keystore(self) -> None:
        (self.home / "keystore.json").read_bytes()

    def list_home(self) -> None:
        list(self.home.iterdir())

    def read_by_dots(self) -> None:
        Path(f"/usr/lib/../..{self.home}/site.toml").read_bytes()

    def read_by_root_link(self) -> None:
        Path(f"/proc/self/root{self.home}/site.toml").read_bytes()

    def read_by_task_link(self) -> None:
        Path(f"/proc/thread-self/cwd/..{self.home}/site.toml").read_bytes()

    def read_by_handle(self) -> None:
        call("open_by_handle_at", -100, 0, 0)

    def read_users(self) -> None:
        Path("/etc/passwd").read_bytes()

    def read_mounts(self) -> None:
        Path("/proc/self/mountinfo").read_bytes()

    def enter_home(self) -> None:
        os.chdir(self.home)

    def link_to_home(self) -> None:
        Path("/tmp/link").symlink_to(self.home)

    def link_hard(self) -> None:
        Path("/tmp/hard").hardlink_to(self.home / "site.toml")

    def write_tmp(self) -> None:
        Path("/tmp/written").write_text("rows")

    def write_shared_memory(self) -> None:
        Path("/dev/shm/written").write_text("rows")

    def write_home(self) -> None:
        (self.home / "written").write_text("rows")

    def write_code(self) -> None:
        self.shown.open("ab").close()

    def write_unnamed(self) -> None:
        os.open("/tmp", os.O_TMPFILE | os.O_RDWR)

    def make_folder(self) -> None:
        Path("/tmp/folder").mkdir()

    def make_pipe(self) -> None:
        os.mkfifo("/tmp/fifo")

    def make_device(self) -> None:
        os.mknod("/tmp/device", 0o600)

    def rename(self) -> None:
        self.shown.rename(f"{self.shown}.old")

    def remove(self) -> None:
        self.shown.unlink()

    def truncate(self) -> None:
        os.truncate(self.shown, 0)

    def change_mode(self) -> None:
        self.shown.chmod(0o777)

    def change_times(self) -> None:
        os.utime(self.shown, (0, 0))

    def set_attribute(self) -> None:
        os.setxattr(self.shown, "user.rows", b"rows")

    def type_into_terminal(self) -> None:
        fcntl.ioctl(0, 0x5412, b"x")  # TIOCSTI

    # ---------------------------------------------------------------- memory
    def ten_gigabytes(self) -> None:
        bytearray(10 * GIB)

    def ten_gigabytes_shared(self) -> None:
        mmap.mmap(-1, 10 * GIB)

    def memory_file(self) -> None:
        call("memfd_create", b"rows", 0)

    def shared_memory(self) -> None:
        call("shmget", 0, 4096, 0o600 | 0o1000)

    # ---------------------------------------------------------------- the kernel
    def mount(self) -> None:
        call("mount", b"none", str(self.home).encode(), b"tmpfs", 0, 0)

    def unshare(self) -> None:
        call("unshare", 0x10000000)  # CLONE_NEWUSER

    def join_namespaces(self) -> None:
        call("setns", 3, 0)

    def keys(self) -> None:
        call("keyctl", 0, 0xFFFFFFFE, 0)

    def bpf(self) -> None:
        call("bpf", 0, 0, 0)

    def io_uring(self) -> None:
        call("io_uring_setup", 1, bytes(120))

    def fault_handler(self) -> None:
        call("userfaultfd", 1)

    def performance_events(self) -> None:
        call("perf_event_open", bytes(112), 0, -1, -1, 0)

    def become_root(self) -> None:
        os.setuid(os.getuid() ^ 1)

    def show_memory(self) -> None:
        if LIBC.prctl(4, 1, 0, 0, 0):  # PR_SET_DUMPABLE
            raise OSError("refused")

    def rename_itself(self) -> None:
        if LIBC.prctl(15, b"\xff)", 0, 0, 0):  # PR_SET_NAME
            raise OSError("refused")

    def outlive_the_parent(self) -> None:
        if LIBC.prctl(1, 0, 0, 0, 0):  # PR_SET_PDEATHSIG
            raise OSError("refused")

    def another_architecture(self) -> None:
        call("personality", 0x0008)  # PER_LINUX32

    def another_filter(self) -> None:
        call("seccomp", 1, 0, 0)

    def more_open_files(self) -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (100_000, 100_000))

    def limits_of_guard(self) -> None:
        import resource

        resource.prlimit(self.guard, resource.RLIMIT_NOFILE, (8, 8))

    def core(self) -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def succeeded(home: str, guard: int, shown: str) -> list[str]:
    """Try everything; name what succeeded, and what was neither refused nor a want of memory."""
    attempts, found = Attempts(home, guard, shown), []
    for name in [one for one in vars(Attempts) if not one.startswith("_")]:
        try:
            getattr(attempts, name)()
            found.append(name)
        except MemoryError:
            pass
        except (OSError, ValueError) as error:
            # A refusal, and not a call that is merely wrong.
            wrong = {errno.EBADF, errno.EFAULT, errno.EINVAL, errno.ESRCH}
            if isinstance(error, OSError) and error.errno in wrong:
                found.append(f"{name} ({errno.errorcode[error.errno]})")
    threads = [threading.Thread(target=int) for _ in range(3)]
    for one in threads:
        one.start()
    return found
