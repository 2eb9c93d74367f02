"""What Python and the installed packages read, and nothing else: code, libraries, the processor."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

#: Shared libraries wherever they are installed, and the list by which they are found.
_LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib")
_LINKER = ("/etc/ld.so.cache", "/etc/alternatives")
#: How many cores there are, and how they are built.
_PROCESSOR = ("/sys/devices/system/cpu", "/sys/devices/system/node")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
#: The interpreter itself; in a virtual environment it is only a link to it.
PROGRAM = str(Path(sys.executable).resolve())
#: Folders of the system, of which Python's own part is a small one.
_SHARED_PREFIXES = ("/", "/usr", "/usr/local")
_GRAPHICS_FILES = ("/sys/bus/pci", "/sys/devices", "/proc/driver/nvidia")


@dataclass(frozen=True)
class Readable:
    """Paths that exist, in absolute form.

    Attributes:
        files: files, and folders with all that is in them.
        imports: where Python looks for modules, in order; not all of it may be read.
        devices: of ``/dev``.
        graphics: whether a graphics processor is among them.
    """

    files: tuple[str, ...]
    imports: tuple[str, ...]
    devices: tuple[str, ...]
    graphics: bool


def readable_by_python(packages: tuple[str, ...]) -> Readable:
    """Find out what this interpreter needs to import what it can import now.

    Args:
        packages: installed from a folder that holds more than packages; of others, the folder
            that they are installed in is found by itself.
    """
    imports = tuple(one for one in sys.path if Path(one).is_absolute() and Path(one).exists())
    found = [*_LIBRARIES, *_LINKER, *_PROCESSOR, PROGRAM]
    found += [one for one in (sys.base_prefix, sys.base_exec_prefix) if one not in _SHARED_PREFIXES]
    found += [one for one in imports if _is_installed(one)]
    for package in packages:
        spec = find_spec(package)
        found += list(spec.submodule_search_locations or ()) if spec is not None else []
    found += os.environ.get("LD_LIBRARY_PATH", "").split(":")
    cards = tuple(str(one) for one in sorted(Path("/dev").glob("nvidia*")))
    if cards:
        found += _GRAPHICS_FILES
    devices = tuple(one for one in _DEVICES if Path(one).exists())
    return Readable(_outermost(found), imports, devices + cards, bool(cards))


def _outermost(paths: list[str]) -> tuple[str, ...]:
    """Those that exist and are in no other."""
    exist = [Path(one) for one in dict.fromkeys(paths) if one and Path(one).exists()]
    return tuple(str(one) for one in exist if not any(other in one.parents for other in exist))


def _is_installed(path: str) -> bool:
    """Whether a folder of modules was made by an installation, so that it holds nothing else."""
    return Path(path).name in ("site-packages", "dist-packages") or Path(path).is_file()
