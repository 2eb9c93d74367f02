"""Every error that wardround raises on purpose: the root, and those of the protocol.

WardroundError
├── ProtocolError             a rule of the protocol is broken
│   ├── OutOfRange            a number leaves the fixed-point range, or is NaN or infinite
│   ├── SignatureInvalid      a signature that its signer did not make
│   └── Malformed             a message, document or number without the agreed form
├── SpecificationError        a file of settings that cannot be used, with the key or line
├── ReplayFailed              a recorded round that does not follow from its inputs
├── RoundFailed               too few good contributions: nothing is closed (retryable)
├── StudyMismatch             a study, round or model other than the chain's
└── ScenarioError             a run's folder or a scenario that cannot be used

Each room's own tree is at the top of its ``errors.py``; docs/errors.md lists every code. An error
carries typed attributes and one sentence that names what to do. The command line prints that
sentence with the code and ends with a non-zero status; ``--debug`` adds the traceback. A class
exists where a caller tells it apart; everything else is a sentence of its parent.
"""

from __future__ import annotations

from typing import ClassVar


class WardroundError(Exception):
    """Root of everything wardround raises on purpose.

    Attributes:
        code: stable between releases, for programs and for a search; sentences may change.
    """

    code: ClassVar[str] = "wardround"


class Retryable:
    """Marks an error after which the same call may succeed later."""


class ProtocolError(WardroundError):
    """A rule of the protocol is broken."""

    code = "protocol"


class OutOfRange(ProtocolError):
    """A value has no exact place in the fixed-point range."""

    code = "out-of-range"

    def __init__(self, what: str, index: int, value: float, words: str | None = None) -> None:
        self.what = what
        self.index = index
        self.value = value
        super().__init__(
            words
            or f"{what} is {value!r} at coordinate {index}, outside the fixed-point range: "
            "lower the learning rate or scale_bits."
        )


class SignatureInvalid(ProtocolError):
    """A signature was not made by its claimed signer."""

    code = "signature-invalid"

    def __init__(self, signer: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"signature of {signer} refused ({reason}): sign with its own key.")


class Malformed(ProtocolError):
    """A message or document has not the agreed form."""

    code = "malformed"

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        self.reason = reason
        super().__init__(f"{what} is malformed: {reason}.")


class SpecificationError(WardroundError):
    """A study, scenario or settings file cannot be used."""

    code = "specification"

    def __init__(
        self, source: object, reason: str, *, key: str = "", line: int | None = None
    ) -> None:
        self.source = str(source)
        self.line = line
        self.key = key
        self.reason = reason
        place = source if line is None else f"{source}:{line}"
        named = f" {key}:" if key else ""
        super().__init__(f"{place}:{named} {reason}.")


class ReplayFailed(WardroundError):
    """A recorded round does not follow from its inputs."""

    code = "replay-failed"

    def __init__(self, round_number: int, what: str, reason: str) -> None:
        self.round_number = round_number
        self.what = what
        self.reason = reason
        super().__init__(f"round {round_number}: {what}: {reason}.")


class RoundFailed(WardroundError, Retryable):
    """Too few good contributions came; nothing was closed."""

    code = "round-failed"

    def __init__(self, round_number: int, accepted: int, needed: int, dropped: list[str]) -> None:
        self.round_number = round_number
        self.accepted = accepted
        self.needed = needed
        self.dropped = dropped
        why = f" (dropped: {'; '.join(dropped)})" if dropped else ""
        super().__init__(
            f"round {round_number} failed: {accepted} good contributions, {needed} needed{why}. "
            "Nothing was closed: mend the sites and run the round again."
        )


class StudyMismatch(WardroundError):
    """Something names a study, round or model that is not the chain's."""

    code = "study-mismatch"

    def __init__(
        self, what: str, expected: str, found: str, advice: str = "take part in neither"
    ) -> None:
        self.what = what
        self.expected = expected
        self.found = found
        super().__init__(f"{what} is {found}, but the chain has {expected}: {advice}.")


class ScenarioError(WardroundError):
    """A run's folder or a scenario cannot be used as asked."""

    code = "scenario"

    def __init__(self, scenario: str, reason: str) -> None:
        self.scenario = scenario
        self.reason = reason
        super().__init__(f"scenario {scenario}: {reason}.")


def shape_mismatch(what: str, expected: int, found: int) -> ProtocolError:
    """A vector has not the length that the study fixes."""
    return ProtocolError(
        f"{what} has {found} elements where the study has {expected}: "
        "use the model that the study names."
    )


def beyond_bound(parameter: str, index: int, moved: float, bound: float) -> OutOfRange:
    """An update moves a weight further than the study allows; both in real units."""
    words = (
        f"coordinate {index} ({parameter}) moved by {moved:g}, more than update_bound {bound:g}: "
        "lower the study's learning_rate, or raise its update_bound."
    )
    return OutOfRange("update", index, moved, words)


def beyond_sum(index: int, value: int, bound: int) -> OutOfRange:
    """A contribution to a sum exceeds the study's bound; both in fixed point."""
    words = (
        f"coordinate {index} of a contribution is {value}, beyond the bound {bound} of the study: "
        "no sum may have it; leave the contribution out, or raise update_bound."
    )
    return OutOfRange("contribution", index, value, words)


def other_protocol(found: str) -> ProtocolError:
    """A run, file or contract of another protocol than this version's."""
    return ProtocolError(
        f"this run was made by protocol {found}, which this version does not read: "
        f"use a release of wardround that speaks {found}."
    )


def nothing_to_aggregate() -> ProtocolError:
    """A round without any update."""
    return ProtocolError("no updates to aggregate: wait for at least one site.")


def weight_invalid(what: str, weight: int, limit: int) -> ProtocolError:
    """A weight, or the sum of all weights, is outside its range."""
    return ProtocolError(f"{what} is {weight}, not in 1 .. {limit}: cap the examples it counts.")
