"""What is where in a coordinator's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wardround.host.inside import Inside
from wardround.transport.certificates import AUTHORITY_CERTIFICATE, SERVER_CERTIFICATE, SERVER_KEY
from wardround.transport.enrolment import Enrolment, read_enrolment
from wardround.transport.errors import enrolment_refused
from wardround_coordinator.settings import PRESENCE_FILE


@dataclass(frozen=True)
class CoordinatorHome:
    """A coordinator's folder: settings, key, certificates, and the sites' enrolments."""

    folder: Path

    #: The certificate authority and the server's certificate.
    tls = Inside("tls")
    #: The root certificate, which every site gets; it is not secret.
    authority = Inside(f"tls/{AUTHORITY_CERTIFICATE}")
    #: Of the server; its key is secret.
    certificate = Inside(f"tls/{SERVER_CERTIFICATE}")
    certificate_key = Inside(f"tls/{SERVER_KEY}")
    #: The enrolments that sites handed in, a file each.
    sites = Inside("sites")
    #: What the programs print.
    logs = Inside("logs")
    #: Locked by the ServerApp while it lives.
    presence = Inside(PRESENCE_FILE)
    #: Flower's own folder.
    flower = Inside("flower")

    def enrolments(self) -> dict[str, Enrolment]:
        """Read every enrolment, by the site's address.

        Raises:
            TransportError: one is malformed or not signed by its site, or two name one site.
        """
        found: dict[str, Enrolment] = {}
        for path in sorted(self.sites.glob("*.json")):
            enrolment = read_enrolment(path)
            if enrolment.site in found:
                raise enrolment_refused(path, f"another file enrols {enrolment.site} as well")
            found[enrolment.site] = enrolment
        return found


class EnrolmentBook:
    """The enrolments of a home, read again when a file comes, goes or changes."""

    def __init__(self, home: CoordinatorHome) -> None:
        self._home = home
        self._state: list[tuple[str, int, int]] | None = None
        self._names: dict[bytes, str] = {}

    def names(self) -> dict[bytes, str]:
        """Names of sites by node key (PEM).

        Raises:
            TransportError: see `CoordinatorHome.enrolments`.
        """
        state = self.state()
        if state != self._state:
            enrolments = self._home.enrolments().values()
            self._names = {one.public_pem: one.name for one in enrolments}
            self._state = state
        return self._names

    def state(self) -> list[tuple[str, int, int]]:
        """What tells one set of files from another."""
        found = []
        for path in sorted(self._home.sites.glob("*.json")):
            about = path.stat()
            found.append((path.name, about.st_mtime_ns, about.st_size))
        return found
