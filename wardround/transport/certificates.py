"""A coordinator's own certificate authority, and what the other side of it checks.

A coordinator makes the authority once (`make_authority`) and gives its certificate, which is no
secret, to the sites. A site trusts that one certificate and no public authority: certificates that
others obtain for the coordinator's name are rejected.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wardround.host.durable import write_private
from wardround.transport.errors import (
    CertificateExpired,
    PeerAway,
    TransportError,
    unusable_certificate,
)

AUTHORITY_CERTIFICATE, AUTHORITY_KEY = "ca.pem", "ca.key"
SERVER_CERTIFICATE, SERVER_KEY = "server.pem", "server.key"
AUTHORITY_DAYS, SERVER_DAYS = 3650, 365
#: Clocks of two machines differ; a certificate must not be too young for the other one.
_CLOCK_SKEW = timedelta(hours=1)
_CERTIFICATE_MAX_BYTES = 65_536
# OpenSSL's numbers of what is wrong with a certificate (x509_vfy.h).
_NOT_YET_VALID, _EXPIRED, _HOST_MISMATCH, _IP_MISMATCH = 9, 10, 62, 64


@dataclass(frozen=True)
class Address:
    """Where a coordinator is reached: a name or an IP address, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``HOST:PORT``, an IPv6 address in brackets.

        Raises:
            ValueError: it is not of that form.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdecimal() or not 1 <= int(port) <= 65_535:
            raise ValueError(f"expected HOST:PORT, found {text!r}")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        """As it is written in settings."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def make_authority(folder: Path, name: str, now: datetime, days: float = AUTHORITY_DAYS) -> None:
    """Make a certificate authority: ``ca.key``, readable by its owner only, and ``ca.pem``.

    Args:
        folder: where both files go; neither may exist.
        name: of the authority, for people.
        now: with a time zone.
        days: how long the authority is valid.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"wardround {name}"[:64])])
    certificate = (
        _certificate(subject, subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_key(folder / AUTHORITY_KEY, key)
    _write_certificate(folder / AUTHORITY_CERTIFICATE, certificate)


def issue_server(
    folder: Path, hosts: Sequence[str], now: datetime, days: float = SERVER_DAYS
) -> None:
    """Let the folder's authority vouch for a server: ``server.key`` and ``server.pem``.

    A certificate that is there already is replaced, and so is its key.

    Args:
        folder: that of `make_authority`.
        hosts: names and IP addresses under which the server is reached.
        now: with a time zone.
        days: how long the certificate is valid.

    Raises:
        TransportError: the authority's files are missing or damaged.
    """
    authority = read_certificate(folder / AUTHORITY_CERTIFICATE)
    signer = _read_key(folder / AUTHORITY_KEY)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    certificate = (
        _certificate(subject, authority.subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_name(h) for h in hosts]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    for name in (SERVER_KEY, SERVER_CERTIFICATE):
        (folder / name).unlink(missing_ok=True)
    _write_key(folder / SERVER_KEY, key)
    _write_certificate(folder / SERVER_CERTIFICATE, certificate)


def read_certificate(path: Path) -> x509.Certificate:
    """Read a PEM certificate.

    Raises:
        TransportError: the file is missing, too long or holds no certificate.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_CERTIFICATE_MAX_BYTES + 1)
    except OSError as error:
        raise unusable_certificate(path, error.strerror or "cannot be read") from error
    if len(data) > _CERTIFICATE_MAX_BYTES:
        raise unusable_certificate(path, "it is too long")
    try:
        return x509.load_pem_x509_certificate(data)
    except ValueError as error:
        raise unusable_certificate(path, "it is not a PEM certificate") from error


def check_time(path: Path, now: datetime, do: str) -> datetime:
    """Check that a certificate is valid now, and return until when.

    Args:
        path: PEM.
        now: with a time zone.
        do: what to do if it is not, as the end of a sentence.

    Raises:
        CertificateExpired: its time is over, or has not begun.
        TransportError: it is no certificate.
    """
    certificate = read_certificate(path)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begins <= now <= ends:
        valid = f"valid from {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC"
        raise CertificateExpired(f"certificate {path} ({valid})", do)
    return ends


def greet(address: Address, root: Path, timeout_seconds: float = 10.0) -> None:
    """Make a TLS connection and drop it: the reason why one fails is lost in Flower's log.

    Args:
        address: of the coordinator.
        root: PEM file with its authority's certificate.
        timeout_seconds: for the connection and for the handshake.

    Raises:
        CertificateExpired: the coordinator's certificate is not valid now.
        TransportError: the authority has not signed the peer's certificate, or the root is none.
        PeerAway: no answer, or not in TLS.
    """
    read_certificate(root)
    context = ssl.create_default_context(cafile=str(root))
    try:
        with (
            socket.create_connection((address.host, address.port), timeout_seconds) as connection,
            context.wrap_socket(connection, server_hostname=address.host),
        ):
            return
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
            what = f"the certificate of the coordinator at {address}"
            do = "ask it to renew: `wardround coordinator renew`"
            raise CertificateExpired(what, do) from error
        if error.verify_code in (_HOST_MISMATCH, _IP_MISMATCH):
            reason = f"its certificate is not for {address.host}"
        else:
            reason = error.verify_message
        raise TransportError(
            f"who answers at {address} is not the coordinator ({reason}): "
            "ask it for its root certificate and address."
        ) from error
    except OSError as error:
        raise PeerAway(str(address), error.strerror or str(error)) from error


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    days: float,
) -> x509.CertificateBuilder:
    begins = now.astimezone(UTC) - _CLOCK_SKEW
    ends = now.astimezone(UTC) + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(begins, ends - _CLOCK_SKEW))
        .not_valid_after(ends)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    form = serialization.PrivateFormat.PKCS8
    data = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    write_private(path, data.decode("ascii"))


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise unusable_certificate(path, "it holds no private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise unusable_certificate(path, "it holds a key of another kind")
    return key


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    with path.open("xb") as file:
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
