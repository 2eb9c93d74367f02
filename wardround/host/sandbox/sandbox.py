"""A sandbox for a program that forks: what the program keeps, and what each of its children."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wardround.host.sandbox.bubblewrap import wrapped
from wardround.host.sandbox.confine import Confinement
from wardround.host.sandbox.machine import Offer
from wardround.host.sandbox.readable import PROGRAM, Readable
from wardround.host.sandbox.system_calls import compiled

#: More than any training takes; a bomb of threads ends here.
THREADS_MAX = 512
#: What decides how PyTorch computes. Nothing else of the environment goes in.
_KEPT = ("ATEN_", "CUDA_", "GOMP_", "KMP_", "LD_LIBRARY_PATH", "MALLOC_", "MKL_", "OMP_", "TORCH_")
_SET = {
    "HOME": "/tmp",  # noqa: S108  (nothing is ever written to it)
    # Large pages, kept once they are there: a fork copies fewer entries, and a child that frees and
    # takes a tensor's memory again and again faults once. Sizes in bytes; glibc's manual, tunables.
    "GLIBC_TUNABLES": ":".join(
        (
            "glibc.malloc.hugetlb=1",
            "glibc.malloc.mmap_threshold=33554432",
            "glibc.malloc.trim_threshold=1073741824",
            "glibc.malloc.top_pad=16777216",
        )
    ),
    # Else joblib, which Opacus imports, tries to make a semaphore, and warns.
    "JOBLIB_MULTIPROCESSING": "0",
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    # PyTorch makes this folder when it is imported, unless it is there.
    "TORCHINDUCTOR_CACHE_DIR": "/tmp",  # noqa: S108
    "USER": "trainer",
}

#: Packages elsewhere are found by their own folders: Python's finder would read all names beside.
_IMPORTS = """\
import sys
from importlib.util import spec_from_file_location
class Packages:
    folders = {packages!r}
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        folder = cls.folders.get(name)
        if folder is None:
            return None
        first, searched = folder + "/__init__.py", [folder]
        return spec_from_file_location(name, first, submodule_search_locations=searched)
sys.path[:] = {imports!r}
sys.meta_path.append(Packages)
"""


@dataclass(frozen=True)
class Sandbox:
    """Walls of this machine around one program.

    Attributes:
        offer: the walls.
        readable: what the program sees of the disk.
        memory_bytes: of each child, beyond what the program has.
        is_open: there are no walls, whatever the machine offers.
    """

    offer: Offer
    readable: Readable
    memory_bytes: int
    is_open: bool = False

    def command(self, statement: str) -> list[str]:
        """A command that runs a statement of Python with this process's packages.

        Args:
            statement: it has to enter the program's confinement.
        """
        found = self.readable
        imports = _IMPORTS.format(imports=list(found.imports), packages=dict(found.packages))
        # Neither the user's own packages nor this folder's: only what is imported from here.
        command = [PROGRAM, "-I", "-S", "-B", "-c", imports + statement]
        if self.offer.namespaces and not self.is_open:
            return wrapped(command, self.readable, self.environment())
        return command

    def environment(self) -> dict[str, str]:
        """The program's environment: no secret is in it."""
        kept = {name: value for name, value in os.environ.items() if name.startswith(_KEPT)}
        return {**kept, **_SET}

    def program(self) -> Confinement | None:
        """What the program keeps: it forks, and watches its children."""
        return self._confinement(["/proc"], forks=True)

    def child(self) -> Confinement | None:
        """What a child keeps: it computes."""
        # Without namespaces the kernel would count every process of the user.
        counted = self.offer.namespaces and os.getuid() != 0
        return self._confinement(
            ["/proc/cpuinfo", "/proc/meminfo"],
            forks=False,
            memory_bytes=self.memory_bytes,
            threads=THREADS_MAX if counted else None,
        )

    def _confinement(
        self,
        more: list[str],
        *,
        forks: bool,
        memory_bytes: int | None = None,
        threads: int | None = None,
    ) -> Confinement | None:
        if self.is_open:
            return None
        found, filtered = self.readable, ""
        if self.offer.seccomp:
            filtered = compiled(forks=forks, graphics=found.graphics).hex()
        return Confinement(
            readable=[*found.files, *more],
            devices=list(found.devices),
            system_calls=filtered,
            memory_bytes=memory_bytes,
            threads=threads,
            graphics=found.graphics,
        )


def within(readable: Readable, paths: Sequence[Path]) -> list[Path]:
    """Those of some paths that a sandbox would show, because they are in a readable folder."""
    shown = [Path(one).resolve() for one in readable.files]
    return [one for one in paths if any(one.resolve().is_relative_to(file) for file in shown)]
