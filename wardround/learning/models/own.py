"""A study's own network, built by the study's own files.

Importing them runs their code, so a hospital does it in a trainer's confined child alone. They are
imported from memory, as modules of a package with a private name: no folder is searched for them,
and they import each other relatively (``from .layers import Block``).
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module, invalidate_caches
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType

from torch import nn

from wardround.learning.errors import LearningError, no_model
from wardround.protocol.canonical import canonical_digest
from wardround.protocol.model import ModelSpec, StudyFiles

_PREFIX = "wardround_study_"
_PLACE = "study's file "


class _FilesFinder(MetaPathFinder, InspectLoader):
    """Imports the files of studies as ``wardround_study_DIGEST.NAME``."""

    def __init__(self) -> None:
        self.packages: dict[str, StudyFiles] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package not in self.packages or (name and f"{name}.py" not in self.packages[package]):
            return None
        return ModuleSpec(fullname, self, is_package=not name)

    def is_package(self, fullname: str) -> bool:
        return "." not in fullname

    def get_source(self, fullname: str) -> str:
        package, _, name = fullname.partition(".")
        return self.packages[package][f"{name}.py"].decode("utf-8-sig") if name else ""

    def get_code(self, fullname: str) -> CodeType:
        place = f"{_PLACE}{fullname.partition('.')[2]}.py"
        return self.source_to_code(self.get_source(fullname), place)


_FINDER = _FilesFinder()


def build_own(model: ModelSpec, files: StudyFiles) -> nn.Module:
    """Import a study's files afresh and call its factory.

    Args:
        model: with ``file``.
        files: compared with their digests before anything of them is imported.
    Raises:
        StudyMismatch: a file is missing, or is not the one that the specification pins.
        LearningError: the import or the call raises, or returns something other than a network.
    """
    package = _package_of(model)
    _FINDER.packages[package] = model.check_files(files)
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)
    # Imported afresh for each network: what one did to its module is not there for the next.
    for known in [one for one in sys.modules if one.partition(".")[0] == package]:
        del sys.modules[known]
    invalidate_caches()
    assert model.file is not None  # the caller has asked
    assert model.factory is not None  # goes with file
    try:
        found = import_module(f"{package}.{model.file.removesuffix('.py')}")
    except (Exception, SystemExit) as error:  # foreign code may raise anything
        raise no_model(model.label, f"its import failed with {_described(error)}") from error
    factory = getattr(found, model.factory, None)
    if not callable(factory):
        what = "has no" if factory is None else "has, and cannot call,"
        raise no_model(model.label, f"{model.file} {what} {model.factory}")
    try:
        network = factory(**model.arguments)
    except (Exception, SystemExit) as error:
        raise no_model(model.label, f"the call failed with {_described(error)}") from error
    if not isinstance(network, nn.Module):
        raise no_model(model.label, f"it returned {type(network).__name__}")
    return network


def own_modules(model: ModelSpec) -> dict[str, ModuleType]:
    """Find the modules that the last `build_own` imported, by their files' names."""
    prefix = _package_of(model) + "."
    return {
        f"{name.removeprefix(prefix)}.py": module
        for name, module in sorted(sys.modules.items())
        if name.startswith(prefix)
    }


def _package_of(model: ModelSpec) -> str:
    return _PREFIX + canonical_digest(model.files).hex()[:32]


def _described(error: BaseException) -> str:
    """Name the error, and the last line of the study's own files that it came through."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, LearningError):
        text = str(error)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(_PLACE):
            return f"{text}, at {frame.filename.removeprefix(_PLACE)}, line {frame.lineno}"
    return text
