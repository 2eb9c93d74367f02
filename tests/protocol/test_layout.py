from __future__ import annotations

import json
from math import prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.protocol.errors import Malformed
from wardround.protocol.layout import Layout

shapes = st.lists(st.integers(1, 50), max_size=4).map(tuple)
layouts = st.lists(st.tuples(st.text(), shapes), min_size=1, max_size=6).map(
    lambda rows: Layout(tuple(name for name, _ in rows), tuple(shape for _, shape in rows))
)


@given(layouts)
def test_layout_when_written_is_read_back(layout: Layout) -> None:
    assert Layout.from_document(json.loads(json.dumps(layout.document()))) == layout
    assert layout.parameter_count == sum(prod(shape) for shape in layout.shapes)


def test_sizes_when_computed_by_hand() -> None:
    layout = Layout(("weight", "bias", "scale"), ((3, 4), (3,), ()))
    assert layout.sizes == (12, 3, 1)
    assert layout.parameter_count == 16


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "text",
        {"name": "a", "shape": [1]},
        [1],
        [None],
        ["a"],
        [{"name": "a"}],
        [{"shape": [1]}],
        [{"name": "a", "shape": 3}],
        [{"name": "a", "shape": ["x"]}],
        [{"name": "a", "shape": [None]}],
        [{"name": "a", "shape": [0]}],
        [{"name": "a", "shape": [2, -1]}],
        [{"name": "a", "shape": [float("inf")]}],
        [{"name": "a", "shape": [float("nan")]}],
    ],
    ids=repr,
)
def test_layout_when_it_is_none_is_refused(value: Any) -> None:
    with pytest.raises(Malformed, match="layout"):
        Layout.from_document(value)
