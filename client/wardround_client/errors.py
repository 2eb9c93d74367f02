"""Every error of a hospital's side, apart from those of its tables (`sources.errors`).

WardroundError
├── Refusal               a rule of the guard forbids what is asked for; ``name`` is the rule's
│   └── RefusedForNow     table, chain or trainer cannot be used at the moment (retryable)
├── GuardUnreachable      no guard answers at the socket (retryable)
├── Withheld              an error as the coordinator receives it: its name alone
├── LogError              the guard's log is missing, damaged, in use or cannot be written
└── KeystoreError         the signing key cannot be written or opened: file or password
"""

from __future__ import annotations

from pathlib import Path

from wardround.protocol.errors import Retryable, SpecificationError, WardroundError

#: Names of `RefusedForNow`.
FOR_NOW = frozenset({"chain-silent", "table-unusable", "trainer-gone"})


class Refusal(WardroundError):
    """A rule of the guard forbids that something leaves the site; it is in the guard's log.

    Attributes:
        name: of the rule, stable between releases: ``already-signed``.
        words: the reason, and what to do.
    """

    code = "guard-refused"

    def __init__(self, name: str, words: str) -> None:
        self.name = name
        self.words = words
        super().__init__(f"{name}: {words}")


class RefusedForNow(Refusal, Retryable):
    """The site's table, the chain or the trainer cannot be used; each comes back."""

    code = "guard-not-ready"


class GuardUnreachable(WardroundError, Retryable):
    """No guard answers at the socket."""

    code = "guard-unreachable"

    def __init__(self, path: Path, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"no guard answers at {path} ({reason}): start `wardround site guard`.")


class Withheld(WardroundError):
    """An error without its words, which may quote rows, files or machines."""

    code = "withheld"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name}; the site's own log says more.")


class LogError(WardroundError):
    """The log of what was signed cannot be used."""

    code = "guard-log-unusable"

    def __init__(self, path: Path, words: str) -> None:
        self.path = str(path)
        super().__init__(f"guard log {path} {words}.")


class KeystoreError(WardroundError):
    """A site's signing key cannot be written, or opened with what was given."""

    code = "keystore-unusable"


def home_unusable(folder: Path, reason: str) -> SpecificationError:
    """A site's folder cannot be used."""
    return SpecificationError(f"site folder {folder}", reason)
