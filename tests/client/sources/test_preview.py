"""What an administrator sees: no single patient."""

from __future__ import annotations

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


def outline(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> Any:
    return preview(settings(write_csv(folder, rows), **changes), place(folder))


def test_preview_when_shown_has_counts_and_ranges(tmp_path: Path) -> None:
    rows = patients(200)
    for row in rows[:7]:
        row["pressure"] = ""
    found = outline(tmp_path, rows, on_missing="drop")
    assert (found.table, found.rows, found.dropped) == ("patients", 195, 5)
    age, pressure, pain, smoker = found.columns
    assert (age.kind, age.missing, pressure.missing) == ("numeric, years", None, 5)
    assert 15 <= age.low <= 25
    assert 88 <= age.high <= 95
    assert pain.counts.keys() == {"none", "mild", "3"}
    assert smoker.counts.keys() == {"no", "yes"}
    assert sum(found.classes) == pytest.approx(193, abs=5)
    text = "\n".join(found.lines())
    assert "patients: about 195 rows, about 5 left out" in text
    assert "age (numeric, years), mostly" in text
    assert f"a study's model must take {found.numbers} features" in text
    assert "missing: fewer than 5" in text
    assert "P0" not in text


def test_preview_when_a_group_is_small_does_not_tell_its_size(tmp_path: Path) -> None:
    texts = set()
    for count in range(SMALLEST_GROUP):
        rows = [{**row, "pain": "none", "outcome": 0} for row in patients(100)]
        for row in rows[:count]:
            row.update(pain="mild", outcome=1)
        found = outline(tmp_path, rows)
        assert found.classes[1] is None
        assert found.columns[2].counts["mild"] is None
        # Nor by what is left of the whole, which is rounded more coarsely than that.
        texts.add("\n".join(found.lines()))
    assert len(texts) <= 2


def test_preview_when_one_patient_is_extreme_does_not_show_it(tmp_path: Path) -> None:
    rows = patients(100)
    for row in rows:
        row["age"] = 40 + row["age"] % 20
    for row, age in zip(rows, (117, 1, 116), strict=False):
        row["age"] = age
    found = outline(tmp_path, rows)
    assert 40 <= found.columns[0].low <= found.columns[0].high <= 60
    assert "117" not in "\n".join(found.lines())


def test_preview_when_rows_are_few_gives_no_range(tmp_path: Path) -> None:
    found = outline(tmp_path, patients(9), min_rows=2)
    assert (found.columns[0].low, found.columns[0].high) == (None, None)
    assert "mostly" not in "\n".join(found.lines())


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
    low, high = _range(np.array(values))
    assert low is not None
    assert high is not None
    ordered = sorted(values)
    size = ordered[-SMALLEST_GROUP] - ordered[SMALLEST_GROUP - 1]
    size = size or abs(ordered[SMALLEST_GROUP - 1]) or 1
    assert low == pytest.approx(ordered[SMALLEST_GROUP - 1], abs=0.06 * size)
    assert high == pytest.approx(ordered[-SMALLEST_GROUP], abs=0.06 * size)
