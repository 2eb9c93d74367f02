"""Errors of audits.

WardroundError
├── FileMismatch          a file that was taken away is not what chain and store give
└── ResultNotTrusted      an audit's result is signed by an account that is not relied on
"""

from __future__ import annotations

from pathlib import Path

from wardround.protocol.errors import WardroundError

_SHOWN_CHARACTERS = 200


class FileMismatch(WardroundError):
    """A run's file, or a model that was taken away, is not what chain and store give.

    Attributes:
        what: the place in the file that differs.
        found: what is there.
        expected: what chain and store give, or another file that was compared with them.
    """

    code = "file-mismatch"

    def __init__(
        self,
        path: Path,
        what: str,
        found: object,
        expected: object,
        by: str = "chain and store give",
    ) -> None:
        self.path = path
        self.what = what
        self.found = str(found)
        self.expected = str(expected)
        super().__init__(
            f"{path}: {what} is {_short(self.found)}, but {by} {_short(self.expected)}: "
            "do not rely on this file."
        )


class ResultNotTrusted(WardroundError):
    """An audit's result is signed by an account that is neither the study's auditor nor named.

    Attributes:
        auditor: who signed it.
    """

    code = "result-not-trusted"

    def __init__(self, path: Path, auditor: str) -> None:
        self.path = path
        self.auditor = auditor
        super().__init__(
            f"{path} is signed by {auditor}, who is no auditor of the study. If an auditor whom "
            "you rely on has given you that address, not this file alone, name it with --trust."
        )


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
