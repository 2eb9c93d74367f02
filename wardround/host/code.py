"""The code that a site runs to train, as it is installed here."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from wardround.protocol.code import code_digest
from wardround.protocol.identifiers import Digest

#: What a site runs to train, and nothing else: the protocol, the learning, the site's data and its
#: ClientApp. Commands, services and pages may change without a new digest.
PACKAGES = (
    "wardround/protocol",
    "wardround/learning",
    "wardround_client/app",
    "wardround_client/sources",
    "wardround_client/trainer",
)
#: The files that make packages of the folders above these.
MARKERS = ("wardround/__init__.py", "wardround_client/__init__.py")


def training_files() -> dict[str, bytes]:
    """Read the Python files that a study's bundle carries.

    Returns:
        Content by path, such as ``wardround/protocol/rules.py``.
    """
    files = {}
    for marker in MARKERS:
        spec = find_spec(marker.split("/")[0])
        assert spec is not None  # this module is in one of them
        assert spec.origin is not None
        root = Path(spec.origin).parent
        files[marker] = Path(spec.origin).read_bytes()
        for package in PACKAGES:
            top, _, folder = package.partition("/")
            if top == root.name:
                for path in (root / folder).rglob("*.py"):
                    files[f"{top}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    return files


@lru_cache(maxsize=1)
def application_digest() -> Digest:
    """Digest the installed training code once a process."""
    return code_digest(training_files())
