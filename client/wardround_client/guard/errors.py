"""Everything that the guard refuses, and everything that keeps it from working.

GuardError
├── Refusal                   asked for something that must not leave; goes into the log
│   ├── RequestMalformed      not a request of the agreed form
│   ├── StudyNotApproved      the site has not approved this study
│   ├── CodeChanged           another application than the one approved
│   ├── CodeNotInstalled      a study to approve runs other code than is here
│   ├── RoundNotOpen          not the round that the contract has open
│   ├── BaseModelWrong        not the model that the chain has for this round
│   ├── NotAMember            the contract does not admit the site to this round
│   ├── AlreadySigned         another contribution to this round was signed before
│   ├── WeightTooHigh         more than the cap, or than there are rows
│   ├── ExamplesWrong         another number of rows than the guard counts
│   ├── UpdateOutOfRange      length, a coordinate or the norm of an update
│   ├── ReportWrong           a report on something else
│   ├── MetricNotAllowed      a number that may not leave
│   ├── BudgetExhausted       more privacy than is left
│   ├── PrivacyRefused        privacy that cannot be kept as asked
│   ├── EvaluationOff         the site measures no models
│   ├── TableUnusable         the site's own table cannot be read (retryable)
│   └── ChainSilent           the chain cannot be asked (retryable)
├── GuardRefused              a refusal as the training process hears of it
├── Withheld                  an error as the coordinator hears of it: its name alone
├── GuardUnreachable          nobody answers at the socket (retryable)
├── GuardBroken               an answer that is not of the agreed form
├── HomeInvalid               a site's folder that cannot be used
├── ApprovalDamaged           an approval that the site's key did not sign, or was altered
└── LogError
    ├── LogMissing            the log of what was signed is gone
    ├── LogDamaged            a line that is not the one that was written
    ├── LogInUse              another guard writes to it
    └── LogUnwritable         a line could not be made durable
"""

from __future__ import annotations

from pathlib import Path

from wardround.protocol.errors import Retryable, WardroundError
from wardround.protocol.identifiers import hex_of


class GuardError(WardroundError):
    """Root of what the guard raises on purpose."""


class Refusal(GuardError):
    """Something must not leave the site."""


class RequestMalformed(Refusal):
    """What came over the socket is no request."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the request is malformed: {reason}.")


class StudyNotApproved(Refusal):
    """The site has not approved the study."""

    def __init__(self, study: bytes) -> None:
        self.study = hex_of(study)
        super().__init__(
            f"study {self.study} is not approved here: look at it with `wardround site approve`."
        )


class CodeChanged(Refusal):
    """The application is not the one that was approved."""

    def __init__(self, approved: str, found: str) -> None:
        self.approved = approved
        self.found = found
        super().__init__(
            f"the application's code is {found}, and the site approved {approved} for this study: "
            "only that one may train here."
        )


class CodeNotInstalled(Refusal):
    """A study that is about to be approved runs other code than is installed."""

    def __init__(self, study: str, installed: str) -> None:
        self.study = study
        self.installed = installed
        super().__init__(
            f"nothing is approved: the study runs code {study}, and {installed} is installed here; "
            "install the version that the study names, or, if you have examined that code and "
            f"trust it, approve it with --code {study}."
        )


class RoundNotOpen(Refusal):
    """The contract has another round open, or none."""

    def __init__(self, study: bytes, asked: int, reason: str) -> None:
        self.study = hex_of(study)
        self.asked = asked
        self.reason = reason
        super().__init__(f"round {asked} of study {self.study} is not open: {reason}.")


class BaseModelWrong(Refusal):
    """The base model is not the one that the chain has for the round."""

    def __init__(self, what: str, expected: str, found: str) -> None:
        self.what = what
        self.expected = expected
        self.found = found
        super().__init__(f"{what} is {found}, but the chain says {expected}.")


class NotAMember(Refusal):
    """The contract does not admit the site to the round."""

    def __init__(self, site: str, study: bytes, asked: int) -> None:
        self.site = site
        self.study = hex_of(study)
        self.asked = asked
        super().__init__(
            f"{site} is no member of study {self.study} in round {asked}: "
            "ask its sponsor to admit this address."
        )


class AlreadySigned(Refusal):
    """A contribution to the round was signed, and this is another."""

    def __init__(self, study: bytes, asked: int, update: str) -> None:
        self.study = hex_of(study)
        self.asked = asked
        self.update = update
        super().__init__(
            f"for round {asked} of study {self.study} the update {update} was signed before: "
            "a second, different one never is."
        )


class WeightTooHigh(Refusal):
    """A weight above what the site may and does have."""

    def __init__(self, weight: int, limit: int) -> None:
        self.weight = weight
        self.limit = limit
        super().__init__(f"weight {weight} is not in 1 .. {limit}, the lesser of cap and rows.")


class ExamplesWrong(Refusal):
    """A report states another number of rows than there are."""

    def __init__(self, what: str, counted: int, stated: int) -> None:
        self.what = what
        self.counted = counted
        self.stated = stated
        super().__init__(f"{stated} {what} are stated, but the site's table has {counted}.")


class UpdateOutOfRange(Refusal):
    """An update is too short, too long or too large."""

    def __init__(self, what: str, found: float, limit: float) -> None:
        self.what = what
        self.found = found
        self.limit = limit
        super().__init__(f"{what} of the update is {found:g} where {limit:g} is allowed.")


class ReportWrong(Refusal):
    """A report speaks of something else, or is malformed."""

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"the report's {field} {reason}.")


class MetricNotAllowed(Refusal):
    """A number that may not leave the site."""

    def __init__(self, metric: str) -> None:
        self.metric = metric[:100]
        super().__init__(f"{self.metric!r} is not among the metrics that may leave this site.")


class BudgetExhausted(Refusal):
    """The round would cost more privacy than is left."""

    def __init__(self, whose: str, epsilon: float, limit: float, delta: float) -> None:
        self.whose = whose
        self.epsilon = epsilon
        self.limit = limit
        self.delta = delta
        super().__init__(
            f"this round would bring {whose} to epsilon {epsilon:.4g} at delta {delta:g}, more "
            f"than the {limit:g} it allows."
        )


class PrivacyRefused(Refusal):
    """Privacy cannot be kept as the study asks for it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"private training is refused: {reason}.")


class EvaluationOff(Refusal):
    """The site measures no models."""

    def __init__(self) -> None:
        super().__init__("this site measures no models: [policy] evaluate is false.")


class TableUnusable(Refusal, Retryable):
    """The site's table cannot be read; says why without a value of it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the site's table cannot be used: {reason}")


class ChainSilent(Refusal, Retryable):
    """The chain cannot be asked, so nothing can be checked."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the chain cannot be asked: {reason}")


class GuardRefused(GuardError):
    """What the guard answered: the name and the words of its refusal."""

    def __init__(self, name: str, words: str) -> None:
        self.name = name
        self.words = words
        super().__init__(f"{name}: {words}")


class Withheld(GuardError):
    """An error of a hospital, without its words: those may tell of rows, files or machines."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name}; the site's own log says more.")


class GuardUnreachable(GuardError, Retryable):
    """Nobody answers at the socket."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"no guard answers at {path} ({reason}): start `wardround site guard`.")


class GuardBroken(GuardError):
    """The guard's answer cannot be read."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the guard's answer cannot be read: {reason}.")


class HomeInvalid(GuardError):
    """A site's folder cannot be used."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"site folder {path}: {reason}.")


class ApprovalDamaged(GuardError):
    """An approval was altered, or the site's key did not sign it."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(
            f"approval {path} is not one that this site gave ({reason}): "
            "remove it and approve the study again."
        )


class LogError(GuardError):
    """The log of what was signed cannot be used."""

    def __init__(self, path: Path, words: str) -> None:
        self.path = str(path)
        super().__init__(f"guard log {path} {words}.")


class LogMissing(LogError):
    """The log is gone; without it the guard could sign a second time."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "is missing: restore it, or make a new site with a new key")


class LogDamaged(LogError):
    """A line is not the one that was written."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        self.line = line
        self.reason = reason
        super().__init__(path, f"is damaged in line {line} ({reason}): restore a true copy")


class LogInUse(LogError):
    """Another guard writes to it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "is in use by another guard: stop that one first")


class LogUnwritable(LogError):
    """A line could not be made durable, so nothing may be signed."""

    def __init__(self, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(path, f"cannot be written ({reason}): free the disk, start the guard anew")
