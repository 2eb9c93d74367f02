"""Data sets by name, each divided over sites."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from wardround.learning.datasets.base import Dataset, DatasetSource
from wardround.learning.datasets.breast_cancer import BreastCancer
from wardround.learning.datasets.generated import Generated
from wardround.learning.datasets.heart import Heart
from wardround.learning.errors import DataError
from wardround.protocol.documents import fault_of

DATA_DIR_VARIABLE = "WARDROUND_DATA_DIR"

SOURCES: dict[str, type[DatasetSource]] = {
    "breast-cancer": BreastCancer,
    "heart": Heart,
    "generated": Generated,
}
"""To add a data set, write a `DatasetSource` in a file of its own and name it here."""


def load_dataset(
    name: str, arguments: Mapping[str, object] | None = None, *, data_dir: Path | None = None
) -> Dataset:
    """Load a data set, divided over its sites.

    Args:
        name: a key of `SOURCES`.
        arguments: the fields of that source, as a scenario gives them.
        data_dir: folder with the user's own copies of files; by default the environment's
            ``WARDROUND_DATA_DIR``, and without that files are downloaded and cached.
    Raises:
        DataError: no such name, an argument that the source does not take, a folder for one that
            reads no files, or rows that cannot be had or divided as asked.
    """
    if name not in SOURCES:
        known = ", ".join(sorted(SOURCES))
        raise DataError(f"no data set is named {name!r}: choose one of {known}.")
    try:
        source = SOURCES[name].model_validate(dict(arguments or {}))
    except ValidationError as exc:
        argument, reason = fault_of(exc)
        raise DataError(f"data set {name}: argument {argument!r}: {reason}.") from exc
    if not source.reads_files:
        if data_dir is not None:
            raise DataError(f"data set {name} reads no files: leave {data_dir} (--data-dir) out.")
        return source.load(data_dir=None)
    if data_dir is None and os.environ.get(DATA_DIR_VARIABLE):
        data_dir = Path(os.environ[DATA_DIR_VARIABLE])
    return source.load(data_dir=data_dir)
