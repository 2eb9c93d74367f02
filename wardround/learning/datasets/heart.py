"""UCI Heart Disease: four real hospitals, prepared as FLamby's Fed-Heart-Disease.

Source:
    Janosi, Steinbrunn, Pfisterer, Detrano 1988, UCI Machine Learning Repository, CC BY 4.0;
    du Terrail et al. 2022, FLamby (arXiv:2210.04620), for the preparation.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs

from wardround.host.durable import write_durably
from wardround.learning.datasets.base import Dataset, DatasetSource
from wardround.learning.datasets.download import fetch, sha256_hex
from wardround.learning.datasets.split import prepare_site
from wardround.learning.errors import DataError, file_altered

URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/heart-disease/"
TIMEOUT_SECONDS = 30.0

NOT_USED = (10, 11, 12)
"""Columns (slope, vessels, thal) that hospitals other than Cleveland hardly filled in."""
CATEGORICAL = (2, 6)
"""Columns (kind of chest pain, resting ECG) whose numbers are names."""


@dataclass(frozen=True)
class Hospital:
    """One hospital's file; many mirrors are edited, so each is known by its digest."""

    name: str
    file: str
    sha256: str
    length_bytes: int
    stratify: bool = True


HOSPITALS = (
    Hospital(
        "cleveland",
        "processed.cleveland.data",
        "a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8",
        18461,
    ),
    Hospital(
        "hungarian",
        "processed.hungarian.data",
        "d1ad108f785768cd3d7e82dc522e6f5a61eea93cccfb3a46ee8076f73fc3d796",
        10263,
    ),
    # Too few healthy patients are left here to keep their share in both parts.
    Hospital(
        "switzerland",
        "processed.switzerland.data",
        "834a405ccf5b66ab4056bb77794adc8df0b7125186454c0a1d002d33c6c3b314",
        4109,
        stratify=False,
    ),
    Hospital(
        "long-beach-va",
        "processed.va.data",
        "e7c93d8d0d2acdadfa4c5e8de768e2191e7f618b952e29623f1f0d5949ff6b8f",
        6737,
    ),
)


class Heart(DatasetSource):
    """303, 261, 46 and 130 patients with 13 features; 1 is heart disease. No arguments."""

    reads_files = True

    def load(self, *, data_dir: Path | None) -> Dataset:
        """Read the files from ``data_dir`` when given, else from the cache, else from UCI.

        Raises:
            DataError: ``data_dir`` is given and has not all four; a file has not its digest; UCI
                cannot be reached.
        """
        files = [
            _download(hospital) if data_dir is None else _read(hospital, data_dir)
            for hospital in HOSPITALS
        ]
        tables = [_parse(data) for data in files]
        values = np.concatenate(tables)
        features, labels = _encode(values[:, :-1]), (values[:, -1] > 0).astype(np.int64)
        ends = np.cumsum([len(table) for table in tables])
        sites = tuple(
            prepare_site(
                hospital.name,
                features[end - len(table) : end],
                labels[end - len(table) : end],
                train_size=0.66,
                seed=43,
                stratify=hospital.stratify,
            )
            for hospital, table, end in zip(HOSPITALS, tables, ends, strict=True)
        )
        return Dataset("heart", classes=2, shape=(features.shape[1],), sites=sites)


def _read(hospital: Hospital, data_dir: Path) -> bytes:
    for path in (data_dir / hospital.file, data_dir / "heart" / hospital.file):
        if path.is_file():
            data = path.read_bytes()
            if sha256_hex(data) != hospital.sha256:
                raise file_altered(str(path), hospital.sha256, sha256_hex(data))
            return data
    raise DataError(
        f"{data_dir / hospital.file} is missing: put the four files of {URL} there, or leave out "
        "--data-dir and WARDROUND_DATA_DIR to download them."
    )


def _download(hospital: Hospital) -> bytes:
    cached = Path(platformdirs.user_cache_dir("wardround")) / "heart" / hospital.file
    if cached.is_file():
        data = cached.read_bytes()
        if sha256_hex(data) == hospital.sha256:
            return data
        # The cache is ours, so a damaged file in it is simply fetched again.
    data = fetch(
        URL + hospital.file,
        hospital.sha256,
        expected_bytes=hospital.length_bytes,
        timeout_seconds=TIMEOUT_SECONDS,
    )
    cached.parent.mkdir(parents=True, exist_ok=True)
    write_durably(cached, data)
    return data


def _parse(data: bytes) -> npt.NDArray[np.float64]:
    """Read the 11 columns in use, leaving out patients with a missing value."""
    rows = []
    for cells in csv.reader(data.decode("ascii").splitlines()):
        kept = [cell for column, cell in enumerate(cells) if column not in NOT_USED]
        if "?" not in kept:
            rows.append([float(cell) for cell in kept])
    return np.array(rows)


def _encode(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Put one column a category, but the lowest, behind the numeric columns.

    Over all hospitals together, so that each has the same columns whatever it saw itself.
    """
    columns = [values[:, j] for j in range(values.shape[1]) if j not in CATEGORICAL]
    for j in CATEGORICAL:
        columns += [(values[:, j] == value) * 1.0 for value in np.unique(values[:, j])[1:]]
    return np.stack(columns, axis=1)
