"""Read a study's TOML file together with the files of its own that it names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from wardround.host.reason import reason_of
from wardround.protocol.documents import decode_text, line_of, parse_toml, validate_form
from wardround.protocol.errors import SpecificationError
from wardround.protocol.model import (
    FILES_MAX,
    FILES_MAX_BYTES,
    NO_FILES,
    StudyFiles,
    file_digests,
    is_file_name,
)
from wardround.protocol.record import RuleId
from wardround.protocol.study import StudySpec

NOT_OF_MODELS = (
    "sum adds up counts, such as a table's statistics, and this study trains a model: "
    "use mean, clipped_mean, median, trimmed_mean or multi_krum"
)
SpecT = TypeVar("SpecT", bound=StudySpec)


def read_study_file(path: Path) -> StudySpec:
    """Read a study's TOML file.

    Raises:
        SpecificationError: as `study_from_text`, or there is no such file.
    """
    if not path.is_file():
        raise SpecificationError(path, "there is no such file")
    text = decode_text(path.read_bytes(), str(path))
    return study_from_text(StudySpec, text, str(path), path.parent)


def study_from_text(form: type[SpecT], text: str, source: str, folder: Path) -> SpecT:
    """Read a study with its own files, and pin those by their digests.

    Args:
        form: `StudySpec`, or a form with further tables.
        text: TOML; ``[model]`` may have ``file``, and ``files`` with the names of others.
        source: the file's name, for errors.
        folder: where the study's own files are.
    Raises:
        SpecificationError: not TOML, an unknown key, or a value out of range, with its line; or
            a file that is missing, too long, or no UTF-8 text; or the rule ``sum``.
    """
    value = parse_toml(text, source)
    files = NO_FILES
    model = value.get("model")
    if isinstance(model, dict) and "file" in model:
        files = _read(model["file"], model.get("files", []), source, folder)
        value["model"] = {**model, "files": file_digests(files)}
    spec = validate_form(form, value, text, source)
    if spec.rule.id is RuleId.SUM:
        key = ["aggregation", "rule"]
        raise SpecificationError(source, NOT_OF_MODELS, key=".".join(key), line=line_of(text, key))
    return spec.with_files(files)


def _read(file: object, others: object, source: str, folder: Path) -> StudyFiles:
    given = [file, *others] if isinstance(others, list) else [file, others]
    names = [name for name in given if isinstance(name, str) and is_file_name(name)]
    for name in given:
        if name not in names:
            reason = f"{name!r} is no name such as model.py: lower case, in the folder of this file"
            raise SpecificationError(source, reason, key="model.files")
    try:
        files = read_files(folder, names)
    except OSError as error:
        reason = f"{error.filename} cannot be read: {reason_of(error)}"
        raise SpecificationError(source, reason, key="model.files") from error
    if len(files) > FILES_MAX or sum(map(len, files.values())) > FILES_MAX_BYTES:
        reason = f"more than {FILES_MAX} files or {FILES_MAX_BYTES:,} bytes together"
        raise SpecificationError(source, reason, key="model.files")
    for name, data in files.items():
        decode_text(data, str(folder / name))
    return files


def read_files(folder: Path, names: Iterable[str]) -> StudyFiles:
    """Read a study's own files, no further than they may be long.

    Raises:
        OSError: one cannot be read.
    """
    files = {}
    for name in names:
        with (folder / name).open("rb") as opened:
            files[name] = opened.read(FILES_MAX_BYTES + 1)
    return files
