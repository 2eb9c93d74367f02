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
        imports: where Python looks for modules, in order; each is in a readable folder, because
            Python reads the names in it.
        packages: folders of packages that are installed from elsewhere, by name.
        devices: of ``/dev``.
        graphics: whether a graphics processor is among them.
    """

    files: tuple[str, ...]
    imports: tuple[str, ...]
    packages: tuple[tuple[str, str], ...]
    devices: tuple[str, ...]
    graphics: bool


def readable_by_python(packages: tuple[str, ...]) -> Readable:
    """Find out what this interpreter needs to import what it can import now.

    Args:
        packages: needed, wherever they are installed from; that folder may hold other things.
            Of others only those are found that are in an installation's own folder.
    """
    paths = [one for one in sys.path if Path(one).is_absolute() and Path(one).exists()]
    found = [*_LIBRARIES, *_LINKER, *_PROCESSOR, PROGRAM]
    found += [one for one in (sys.base_prefix, sys.base_exec_prefix) if one not in _SHARED_PREFIXES]
    found += [one for one in paths if _is_installed(one)]
    apart = []
    for package in packages:
        spec = find_spec(package)
        folders = list(spec.submodule_search_locations or ()) if spec is not None else []
        found += folders
        apart += [(package, one) for one in folders]
    found += os.environ.get("LD_LIBRARY_PATH", "").split(":")
    cards = tuple(str(one) for one in sorted(Path("/dev").glob("nvidia*")))
    if cards:
        found += _GRAPHICS_FILES
    devices = tuple(one for one in _DEVICES if Path(one).exists())
    files = _outermost(found)
    imports = tuple(one for one in paths if _is_within(one, files))
    apart = [pair for pair in apart if str(Path(pair[1]).parent) not in imports]
    return Readable(files, imports, tuple(apart), devices + cards, bool(cards))


def _outermost(paths: list[str]) -> tuple[str, ...]:
    """Those that exist and are in no other."""
    exist = [Path(one) for one in dict.fromkeys(paths) if one and Path(one).exists()]
    return tuple(str(one) for one in exist if not any(other in one.parents for other in exist))


def _is_within(path: str, folders: tuple[str, ...]) -> bool:
    return any(Path(path).is_relative_to(one) for one in folders)


def _is_installed(path: str) -> bool:
    """Whether a folder of modules was made by an installation, so that it holds nothing else."""
    return Path(path).name in ("site-packages", "dist-packages") or Path(path).is_file()
