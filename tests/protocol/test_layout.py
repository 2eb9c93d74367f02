from __future__ import annotations

import json
from math import prod

from hypothesis import given
from hypothesis import strategies as st

from wardround.protocol.layout import Layout

shapes = st.lists(st.integers(1, 50), max_size=4).map(tuple)
layouts = st.lists(st.tuples(st.text(), shapes), min_size=1, max_size=6).map(
    lambda rows: Layout(tuple(name for name, _ in rows), tuple(shape for _, shape in rows))
)


@given(layouts)
def test_document_when_written_names_each_shape(layout: Layout) -> None:
    rows = json.loads(json.dumps(layout.document()))
    assert [(row["name"], tuple(row["shape"])) for row in rows] == list(
        zip(layout.names, layout.shapes, strict=True)
    )
    assert layout.parameter_count == sum(prod(shape) for shape in layout.shapes)


def test_sizes_when_computed_by_hand() -> None:
    layout = Layout(("weight", "bias", "scale"), ((3, 4), (3,), ()))
    assert layout.sizes == (12, 3, 1)
    assert layout.parameter_count == 16


def test_name_of_gives_the_parameter_of_each_coordinate() -> None:
    layout = Layout(names=("a", "b", "c"), shapes=((2, 2), (1,), (3,)))
    assert "".join(layout.name_of(index) for index in range(8)) == "aaaabccc"
