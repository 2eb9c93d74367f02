"""Every error that wardround raises on purpose, drawn as a tree.

WardroundError
├── ProtocolError             bytes, numbers or names that break a rule of the protocol
│   ├── ShapeMismatch         a vector has not the study's length
│   ├── OutOfRange            a number leaves the fixed-point range, or is NaN or infinite
│   ├── EmptyRound            nothing to aggregate
│   ├── WeightInvalid         a weight is not in 1 .. cap, or their sum reaches 2**31
│   ├── NotCanonical          JSON that is not the RFC 8785 form of its value
│   ├── SignatureInvalid      a signature that its signer did not make
│   ├── Malformed             a message or document without the agreed form
│   └── ProofInvalid          an inclusion proof that does not lead to its root
├── SpecificationError        a study file that cannot be used, with the key or line
├── ReplayFailed              a recorded round that does not follow from its inputs
├── wardround.chain.errors             chain, store and journal
├── wardround.learning.errors           data sets, models, training
├── wardround_coordinator.errors        who coordinates, and from where
├── RoundFailed               too few good contributions: nothing is closed, the study goes on
├── StudyMismatch             a study, round or model other than the chain's
│   └── RoundOver             a round that was closed before the question arrived
└── ScenarioError             a scenario that cannot be simulated

Each carries typed attributes and says in one sentence what to do. The command line prints that
sentence and ends with a non-zero status; a traceback appears only with ``--debug``.
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


class ShapeMismatch(ProtocolError):
    """A vector has not the length that the study fixes."""

    def __init__(self, what: str, expected: int, found: int) -> None:
        self.what = what
        self.expected = expected
        self.found = found
        super().__init__(
            f"{what} has {found} elements where the study has {expected}: "
            "use the model that the study names."
        )


class OutOfRange(ProtocolError):
    """A value has no exact place in the fixed-point range."""

    def __init__(self, what: str, index: int, value: float) -> None:
        self.what = what
        self.index = index
        self.value = value
        super().__init__(
            f"{what} is {value!r} at coordinate {index}, outside the fixed-point range: "
            "lower the learning rate or scale_bits."
        )


class EmptyRound(ProtocolError):
    """There is nothing to aggregate."""

    def __init__(self) -> None:
        super().__init__("no updates to aggregate: wait for at least one site.")


class WeightInvalid(ProtocolError):
    """A weight, or the sum of all weights, is outside its range."""

    def __init__(self, what: str, weight: int, limit: int) -> None:
        self.what = what
        self.weight = weight
        self.limit = limit
        super().__init__(
            f"{what} is {weight}, not in 1 .. {limit}: cap the examples it stands for."
        )


class NotCanonical(ProtocolError):
    """A JSON document is not the RFC 8785 form of its own value."""

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        self.reason = reason
        super().__init__(f"{what} is not canonical JSON ({reason}): write it with RFC 8785.")


class SignatureInvalid(ProtocolError):
    """A signature was not made by the one it is said to come from."""

    def __init__(self, signer: str, reason: str) -> None:
        self.signer = signer
        self.reason = reason
        super().__init__(
            f"signature of {signer} refused ({reason}): sign with that site's own key."
        )


class Malformed(ProtocolError):
    """A message or document has not the agreed form."""

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        self.reason = reason
        super().__init__(f"{what} is malformed: {reason}.")


class ProofInvalid(ProtocolError):
    """An inclusion proof does not lead from its leaf to its root."""

    def __init__(self, what: str, index: int) -> None:
        self.what = what
        self.index = index
        super().__init__(f"the proof of {what} {index} does not lead to the committed root.")


class SpecificationError(WardroundError):
    """A study or scenario file cannot be used."""

    def __init__(self, source: str, line: int | None, key: str, reason: str) -> None:
        self.source = source
        self.line = line
        self.key = key
        self.reason = reason
        place = source if line is None else f"{source}:{line}"
        named = f" {key}:" if key else ""
        super().__init__(f"{place}:{named} {reason}.")


class ReplayFailed(WardroundError):
    """A recorded round does not follow from its inputs."""

    def __init__(self, round_number: int, what: str, reason: str) -> None:
        self.round_number = round_number
        self.what = what
        self.reason = reason
        super().__init__(f"round {round_number}: {what}: {reason}.")


class RoundFailed(WardroundError, Retryable):
    """Too few good contributions came; nothing was closed."""

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

    def __init__(self, what: str, expected: str, found: str) -> None:
        self.what = what
        self.expected = expected
        self.found = found
        super().__init__(f"{what} is {found}, but the chain says {expected}: take part in neither.")


class RoundOver(StudyMismatch):
    """A question came late: its round is closed, by the answers that were there in time."""

    def __init__(self, open_round: int, asked: int) -> None:
        super().__init__("round", str(open_round), str(asked))
        self.args = (
            f"round {asked} is closed and round {open_round} is open: the question came late, and "
            "nothing is lost.",
        )


class ScenarioError(WardroundError):
    """A scenario cannot be simulated as written."""

    def __init__(self, scenario: str, reason: str) -> None:
        self.scenario = scenario
        self.reason = reason
        super().__init__(f"scenario {scenario}: {reason}.")
