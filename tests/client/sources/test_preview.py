"""What an administrator sees: no single patient."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.client.sources.tables import SECRET, patients, place, settings, write_csv
from wardround_client.sources.errors import SourceError
from wardround_client.sources.preview import SMALLEST_GROUP, _range, preview, rounded


def outline(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> list[str]:
    return preview(settings(write_csv(folder, rows), **changes), place(folder))


def mostly(line: str) -> tuple[float, float]:
    found = re.search(r"mostly (\S+) to ([^,]+)", line)
    assert found is not None
    return float(found[1]), float(found[2])


def test_preview_when_shown_has_counts_and_ranges(tmp_path: Path) -> None:
    rows = patients(200)
    for row in rows[:7]:
        row["pressure"] = ""
    whole, age, pressure, pain, smoker, classes, sides, numbers = outline(
        tmp_path, rows, on_missing="drop"
    )
    assert whole == "patients: about 195 rows, about 5 left out"
    assert re.fullmatch(r"  age \(numeric, years\), mostly .*, missing: fewer than 5", age)
    low, high = mostly(age)
    assert 15 <= low <= 25
    assert 88 <= high <= 95
    assert pressure.endswith("missing: about 5")
    assert re.findall(r"(\w+): about", pain) == ["none", "mild", "3"]
    assert re.findall(r"(\w+): about", smoker) == ["no", "yes"]
    counts = [int(count) for count in re.findall(r"about (\d+)", classes)]
    assert sum(counts) == pytest.approx(193, abs=5)
    assert re.fullmatch(r"  about 1\d\d rows to train on, about \d\d to measure on", sides)
    assert re.fullmatch(r"  a study's model must take \d+ features", numbers)
    assert "P0" not in "\n".join([whole, age, pressure, pain, smoker, classes, sides, numbers])


def test_preview_when_a_group_is_small_does_not_tell_its_size(tmp_path: Path) -> None:
    texts = set()
    for count in range(SMALLEST_GROUP):
        rows = [{**row, "pain": "none", "outcome": 0} for row in patients(100)]
        for row in rows[:count]:
            row.update(pain="mild", outcome=1)
        found = outline(tmp_path, rows)
        assert "mild: fewer than 5" in found[3]
        assert "1: fewer than 5" in found[5]
        # Nor by what is left of the whole, which is rounded more coarsely than that.
        texts.add("\n".join(found))
    assert len(texts) <= 2


def test_preview_when_one_patient_is_extreme_does_not_show_it(tmp_path: Path) -> None:
    rows = patients(100)
    for row in rows:
        row["age"] = 40 + row["age"] % 20
    for row, age in zip(rows, (117, 1, 116), strict=False):
        row["age"] = age
    found = outline(tmp_path, rows)
    low, high = mostly(found[1])
    assert 40 <= low <= high <= 60
    assert "117" not in "\n".join(found)


def test_preview_when_rows_are_few_gives_no_range(tmp_path: Path) -> None:
    assert "mostly" not in "\n".join(outline(tmp_path, patients(9), min_rows=2, seed=1))


def test_preview_when_rows_do_not_fit_is_refused(tmp_path: Path) -> None:
    rows = patients(30)
    rows[0]["age"] = SECRET
    with pytest.raises(SourceError, match="does not fit its schema") as refusal:
        outline(tmp_path, rows)
    assert SECRET not in str(refusal.value)


@given(st.integers(0, 10**9))
def test_count_when_told_is_near_and_round(count: int) -> None:
    told = rounded(count)
    if count < SMALLEST_GROUP:
        assert told is None
    else:
        assert told is not None
        assert told % SMALLEST_GROUP == 0
        assert abs(told - count) <= SMALLEST_GROUP // 2


finite = st.floats(-1e30, 1e30).map(lambda value: value + 0.0)


@given(st.lists(finite, min_size=10, max_size=60))
@hypothesis_settings(deadline=None)
def test_range_when_told_has_a_group_beyond_each_end(values: list[float]) -> None:
    ends = _range(np.array(values))
    assert ends is not None
    low, high = ends
    ordered = sorted(values)
    size = ordered[-SMALLEST_GROUP] - ordered[SMALLEST_GROUP - 1]
    size = size or abs(ordered[SMALLEST_GROUP - 1]) or 1
    assert low == pytest.approx(ordered[SMALLEST_GROUP - 1], abs=0.06 * size)
    assert high == pytest.approx(ordered[-SMALLEST_GROUP], abs=0.06 * size)
