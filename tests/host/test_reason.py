from pathlib import Path

import pytest

from wardround.host.reason import reason_of


def test_reason_when_a_file_is_missing_has_no_number() -> None:
    with pytest.raises(OSError, match="Errno") as caught:
        Path("/no/such/file").read_bytes()
    assert reason_of(caught.value) == "No such file or directory"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("[Errno 111] Connection refused"), "Connection refused"),
        (ValueError("two\nlines"), "two lines"),
        (EOFError(), "EOFError"),
    ],
)
def test_reason_is_one_line(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason
