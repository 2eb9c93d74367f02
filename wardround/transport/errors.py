"""What can go wrong between the parties.

TransportError                    (WardroundError)
├── CertificateError              a certificate cannot be used
│   ├── CertificateExpired        its time is over, or has not begun
│   ├── CertificateUnreadable     not a certificate, or missing
│   └── CertificateRefused        it does not vouch for the address that answers
├── PeerAway (Retryable)          nobody answers at the address
├── AddressInUse                  another program listens there
├── EnrolmentInvalid              a site's node key is not vouched for by the site
├── BundleRefused                 application code that nobody approved
└── FlowerChanged                 Flower's inside is not what this was built and tested on
"""

from __future__ import annotations

from datetime import datetime

from wardround.protocol.errors import Retryable, WardroundError


class TransportError(WardroundError):
    """Something between the parties."""


class CertificateError(TransportError):
    """A certificate cannot be used."""


class CertificateExpired(CertificateError):
    """The time of a certificate is over, or has not begun."""

    def __init__(self, what: str, begins: datetime | None, ends: datetime | None, do: str) -> None:
        self.what = what
        self.begins = begins
        self.ends = ends
        time = (
            f" (valid from {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC)"
            if begins is not None and ends is not None
            else ""
        )
        super().__init__(f"{what} has expired, or is not valid yet{time}: {do}.")


class CertificateUnreadable(CertificateError):
    """There is no certificate in a file."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"certificate {path} cannot be used: {reason}.")


class CertificateRefused(CertificateError):
    """Who answers is not vouched for by the root certificate that was given."""

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(
            f"who answers at {address} is not the coordinator ({reason}): "
            "ask it for its root certificate and address."
        )


class PeerAway(TransportError, Retryable):
    """Nobody answers at an address."""

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(f"nobody answers at {address} ({reason}): check the address and network.")


class AddressInUse(TransportError):
    """Another program listens at an address."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        super().__init__(
            f"port {port} of {host} is in use: stop the program that listens there, "
            "or name another port."
        )


class EnrolmentInvalid(TransportError):
    """A node key that its site has not signed for."""

    def __init__(self, source: str, reason: str) -> None:
        self.source = source
        self.reason = reason
        super().__init__(
            f"enrolment {source} is refused: {reason}. Ask the site for its enrolment.json again."
        )


class BundleRefused(TransportError):
    """An application bundle that holds anything but approved code."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the coordinator's code is refused: {reason}.")


class FlowerChanged(TransportError):
    """Flower is not the version that this was built and tested on."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(
            f"this version of Flower is not the tested one ({what}): install the version of "
            "constraints.txt."
        )
