"""The application's own code, as it is installed here."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from protocol.code import code_digest
from protocol.identifiers import Digest

#: The packages whose code decides what a site computes and signs.
PACKAGES = ("protocol", "ledger", "learning", "client", "coordinator")


def application_files() -> dict[str, bytes]:
    """Read the application's Python files.

    Returns:
        Content by path, such as ``protocol/rules.py``.
    """
    files = {}
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None  # this module is in one of them
        for folder in spec.submodule_search_locations or []:
            root = Path(folder)
            for path in root.rglob("*.py"):
                files[f"{package}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    return files


@lru_cache(maxsize=1)
def application_digest() -> Digest:
    """Digest the installed application once a process."""
    return code_digest(application_files())
