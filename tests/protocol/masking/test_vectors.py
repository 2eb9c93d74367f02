"""The file of vectors is what the slow code writes."""

from __future__ import annotations

import json

from tests.protocol.masking import VECTORS
from tests.vectors import masking


def test_file_is_what_the_slow_code_writes() -> None:
    assert json.loads(json.dumps(masking.document())) == VECTORS, "python -m tests.vectors.make"
