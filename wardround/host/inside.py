"""Paths in a folder, as attributes of what has the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class HasFolder(Protocol):
    """Whatever is kept in a folder."""

    @property
    def folder(self) -> Path:
        """Where."""


class Inside:
    """An attribute that is a path in its owner's folder."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __get__(self, owner: HasFolder, kind: object = None) -> Path:
        """Name the path for one owner."""
        return owner.folder / self._path
