from __future__ import annotations

import json
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from wardround.protocol.code import code_digest

files = st.dictionaries(
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1), st.binary(),
    max_size=5,
)  # fmt: skip


def test_digest_when_computed_by_hand() -> None:
    rows = [["a.py", sha256(b"one").hexdigest()], ["b/c.py", sha256(b"").hexdigest()]]
    by_hand = sha256(json.dumps(rows, separators=(",", ":")).encode()).digest()
    assert code_digest({"b/c.py": b"", "a.py": b"one"}) == by_hand


@given(files)
def test_digest_when_files_come_in_another_order_is_equal(content: dict[str, bytes]) -> None:
    assert code_digest(dict(reversed(content.items()))) == code_digest(content)


@given(files, st.data())
def test_digest_when_anything_changes_is_another(
    content: dict[str, bytes], data: st.DataObject
) -> None:
    before = code_digest(content)
    assert code_digest({**content, "added.py": b""}) != before or "added.py" in content
    if content:
        name = data.draw(st.sampled_from(sorted(content)))
        rest = {key: value for key, value in content.items() if key != name}
        assert code_digest(rest) != before
        assert code_digest({**content, name: content[name] + b"\n"}) != before
        if name + "x" not in content:
            assert code_digest({**rest, name + "x": content[name]}) != before
