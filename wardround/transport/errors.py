"""Errors between the parties.

TransportError                    (WardroundError) also: a certificate or enrolment that cannot be
│                                 used, another version of Flower, an answer that is too large
├── CertificateExpired            its time is over, or has not begun
├── PeerAway (Retryable)          no answer at the address
├── BundleRefused                 application code that the site has not approved
└── ControlFailed                 the SuperLink rejected a request
"""

from __future__ import annotations

from wardround.protocol.errors import Retryable, WardroundError


class TransportError(WardroundError):
    """A party cannot be reached, or not be trusted."""

    code = "transport"


class CertificateExpired(TransportError):
    """The time of a certificate is over, or has not begun."""

    code = "certificate-expired"

    def __init__(self, what: str, do: str) -> None:
        super().__init__(f"{what} has expired, or is not valid yet: {do}.")


class PeerAway(TransportError, Retryable):
    """No answer at an address."""

    code = "peer-away"

    def __init__(self, address: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"no answer at {address} ({reason}): check the address and network.")


class BundleRefused(TransportError):
    """An application bundle that holds anything but approved code."""

    code = "bundle-refused"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the coordinator's code is refused: {reason}.")


class ControlFailed(TransportError):
    """The SuperLink rejected a request."""

    code = "superlink-refused"

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        self.reason = reason
        super().__init__(f"Flower's SuperLink would not {what}: {reason}. Its log says why.")


def unusable_certificate(path: object, reason: str) -> TransportError:
    """A file that holds no certificate, or no key."""
    return TransportError(f"certificate {path} cannot be used: {reason}.")


def enrolment_refused(source: object, reason: str) -> TransportError:
    """A node key that its site has not signed."""
    return TransportError(
        f"enrolment {source} is refused: {reason}. Ask the site for its enrolment.json again."
    )


def flower_changed(what: str) -> TransportError:
    """Flower is not the version that this was built and tested on."""
    return TransportError(
        f"this version of Flower is not the tested one ({what}): install the version of "
        "constraints.txt."
    )
