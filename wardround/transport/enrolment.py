"""A site's node key, and the site's signature of it.

Flower knows a SuperNode by a key of its own (NIST P-384). The site signs that key with its
Ethereum key; the coordinator lets a node key in only with the signature of a site that the
contract admits. So only a site can connect as itself, and answers cannot be attributed to another.

The signed text names its purpose and has a wallet's prefix, so it is never valid as a contribution
or a transaction.

Source:
    EIP-191, version 0x45 (``personal_sign``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from eth_keys import keys
from pydantic import Field

from wardround.host.durable import write_private
from wardround.protocol.contribution import recover_signer, sign_digest
from wardround.protocol.documents import Form, decode_text, validate_form
from wardround.protocol.errors import SignatureInvalid, SpecificationError
from wardround.protocol.identifiers import SiteAddress, address_of
from wardround.protocol.report import Address
from wardround.transport.errors import enrolment_refused

NODE_KEY, ENROLMENT = "node.key", "enrolment.json"
_MAX_BYTES = 4096


class Enrolment(Form):
    """``enrolment.json``: what a site gives to the coordinator; nothing in it is secret."""

    format: Literal["wardround-enrolment/1"]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    site: Address
    node_key: Annotated[str, Field(pattern=r"^ecdsa-sha2-nistp384 [A-Za-z0-9+/=]{100,400}$")]
    signature: Annotated[str, Field(pattern=r"^0x[0-9a-f]{130}$")]

    @property
    def address(self) -> SiteAddress:
        """The site."""
        return address_of(self.site)

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The node key."""
        key = serialization.load_ssh_public_key(self.node_key.encode("ascii"))
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("not a key of an elliptic curve")
        return key

    @property
    def public_pem(self) -> bytes:
        """The node key as Flower sends it with every request."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.public_key.public_bytes(serialization.Encoding.PEM, form)


def enrol(home: Path, name: str, key: bytes) -> Enrolment:
    """Make a site's node key and let the site vouch for it.

    Args:
        home: the site's folder; ``node.key`` must not exist in it.
        name: of the site.
        key: the site's Ethereum key, 32 bytes.

    Returns:
        What was written to ``enrolment.json``.
    """
    node = ec.generate_private_key(ec.SECP384R1())
    encoding, secret = serialization.Encoding, serialization.PrivateFormat
    private = node.private_bytes(encoding.PEM, secret.OpenSSH, serialization.NoEncryption())
    public = node.public_key().public_bytes(encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    site = keys.PrivateKey(key).public_key.to_checksum_address()
    node_key = public.decode("ascii")
    signature = sign_digest(_digest(name, site, node_key), key)
    enrolment = Enrolment(
        format="wardround-enrolment/1",
        name=name,
        site=site.lower(),
        node_key=node_key,
        signature="0x" + signature.hex(),
    )
    write_private(home / NODE_KEY, private.decode("ascii"))
    text = json.dumps(enrolment.model_dump(), indent=2) + "\n"
    (home / ENROLMENT).write_text(text, encoding="utf-8")
    return enrolment


def read_enrolment(path: Path) -> Enrolment:
    """Read and verify what a site handed in.

    Raises:
        TransportError: malformed, or the site's key did not sign this node key.
    """
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise enrolment_refused(path, "the file is too long")
    try:
        value = json.loads(decode_text(data, str(path)))
        enrolment = validate_form(Enrolment, value, "", str(path))
    except (ValueError, RecursionError, SpecificationError) as error:
        raise enrolment_refused(path, f"not an enrolment ({error})") from error
    _verify(enrolment, str(path))
    return enrolment


def _verify(enrolment: Enrolment, source: str) -> None:
    signature = bytes.fromhex(enrolment.signature[2:])
    digest = _digest(enrolment.name, enrolment.address, enrolment.node_key)
    try:
        enrolment.public_pem  # noqa: B018 -- reads the key, or raises
        signer = recover_signer(digest, signature, enrolment.site)
    except SignatureInvalid as error:
        raise enrolment_refused(source, f"its signature is malformed ({error.reason})") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise enrolment_refused(source, "its node key is malformed") from error
    if signer != enrolment.address:
        raise enrolment_refused(source, f"site {enrolment.site} has not signed this node key")


def _digest(name: str, site: str, node_key: str) -> bytes:
    # Here, because a SuperNode imports this too, and this one takes a second.
    from eth_account.messages import defunct_hash_message

    lines = ["wardround: this node speaks for this site", name, site.lower(), node_key]
    return bytes(defunct_hash_message(text="\n".join(lines)))
