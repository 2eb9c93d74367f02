"""What a reader signs to ask a gateway for something, good once and for a minute.

EIP-712 typed data in the domain of the Grants contract, ``Request(bytes32 study,string
method,string path,bytes32 body,uint64 time,bytes32 nonce)``, so that a signature for one study,
gateway path or content is good for no other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from eth_account.signers.local import LocalAccount
from eth_utils import keccak

from wardround.protocol.contribution import Domain, recover_signer, sign_digest
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import StudyId

HEADER = "Wardround-Request"
#: How far the clocks of reader and gateway may be apart.
TOLERANCE_SECONDS = 60

REQUEST_TYPE = (
    "Request(bytes32 study,string method,string path,bytes32 body,uint64 time,bytes32 nonce)"
)
_TYPEHASH = keccak(text=REQUEST_TYPE)
_FORM = re.compile(r"([0-9]{1,12}) ([0-9a-f]{64}) ([0-9a-f]{64}) ([0-9a-f]{130})")


@dataclass(frozen=True)
class Request:
    """A signed request.

    Args:
        study: whose objects.
        method: of HTTP.
        path: of the URL, as it is sent.
        body: SHA-256 of what is sent, 32 bytes.
        time: when, seconds since 1970.
        nonce: 32 random bytes; counts once.
    """

    study: StudyId
    method: str
    path: str
    body: bytes
    time: int
    nonce: bytes

    def digest(self, domain: Domain) -> bytes:
        """What is signed, 32 bytes."""
        fields = keccak(
            _TYPEHASH
            + self.study
            + keccak(text=self.method)
            + keccak(text=self.path)
            + self.body
            + self.time.to_bytes(32, "big")
            + self.nonce
        )
        return keccak(b"\x19\x01" + domain.separator + fields)

    def header(self, domain: Domain, account: LocalAccount) -> str:
        """Sign, and write what the HTTP header holds."""
        signature = sign_digest(self.digest(domain), bytes(account.key))
        return f"{self.time} {self.nonce.hex()} {self.body.hex()} {signature.hex()}"


def read_request(
    header: str, study: StudyId, method: str, path: str, domain: Domain
) -> tuple[Request, str]:
    """Read a header; who has signed it comes second.

    Raises:
        Malformed: it has another form.
        SignatureInvalid: it has no valid signature.
    """
    match = _FORM.fullmatch(header)
    if match is None:
        raise Malformed(HEADER, "expected time, nonce, body digest and signature")
    time, nonce, body, signature = match.groups()
    request = Request(study, method, path, bytes.fromhex(body), int(time), bytes.fromhex(nonce))
    signer = recover_signer(request.digest(domain), bytes.fromhex(signature), "a request")
    return request, str(signer)
