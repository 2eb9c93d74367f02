"""The terms in force: ``[policy]``, and which column names patients, as approved with the key.

A process of the site's user can rewrite ``site.toml``. So changed terms count only once they are
signed; until then the guard keeps to those before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from eth_utils import keccak
from pydantic import Field, ValidationError

from wardround.host.durable import OWNER_ONLY, write_durably
from wardround.protocol.canonical import canonical_bytes, parse_canonical
from wardround.protocol.contribution import recover_signer, sign_digest
from wardround.protocol.documents import Form
from wardround.protocol.errors import ProtocolError, SpecificationError
from wardround.protocol.identifiers import SiteAddress, hex_of
from wardround.protocol.report import Address
from wardround_client.errors import home_unusable
from wardround_client.settings import SiteTerms

POLICY_MAX_BYTES = 1 << 18
#: Nothing that a site signs for the contract begins so.
_PURPOSE = b"wardround site policy 1\n"


class _PolicyStatement(Form):
    format: Literal["wardround-policy/2"]
    site: Address
    terms: SiteTerms


class _SignedPolicy(Form):
    statement: _PolicyStatement
    signature: Annotated[str, Field(pattern=r"^0x[0-9a-f]{130}$")]


def approve_policy(path: Path, terms: SiteTerms, site: SiteAddress, key: bytes) -> None:
    """Sign terms; when this returns, they are in force at the guard's next start."""
    statement = _PolicyStatement(format="wardround-policy/2", site=site.lower(), terms=terms)
    document = statement.model_dump(mode="json")
    signature = hex_of(sign_digest(_digest(document), key))
    data = canonical_bytes({"statement": document, "signature": signature})
    write_durably(path, data, mode=OWNER_ONLY)


def approved_policy(path: Path, site: SiteAddress) -> SiteTerms:
    """Read the terms that were approved last.

    Raises:
        SpecificationError: there is none, it was altered, or another key signed it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(POLICY_MAX_BYTES)
    except FileNotFoundError:
        raise _unusable(path, "no policy is approved") from None
    try:
        value = parse_canonical(data, "policy")
        signed = _SignedPolicy.model_validate(value)
        signature = bytes.fromhex(signed.signature[2:])
        signer = recover_signer(_digest(value["statement"]), signature, signed.statement.site)
    except (ProtocolError, ValidationError, TypeError, KeyError):
        raise _unusable(path, f"{path.name} is damaged") from None
    if signer != site:
        raise _unusable(path, f"{path.name} is signed by another key")
    return signed.statement.terms


def keys_of(terms: SiteTerms) -> dict[str, Any]:
    """Values by where ``site.toml`` has them, such as ``[policy] evaluate``."""
    policy = terms.policy.model_dump(mode="json")
    return {"[data] group": terms.group} | {f"[policy] {key}": policy[key] for key in policy}


def changes(before: SiteTerms, after: SiteTerms) -> list[str]:
    """Write what differs between two terms, a line for each key."""
    old, new = keys_of(before), keys_of(after)
    return [
        f"{key}: {shown(old[key])} becomes {shown(new[key])}" for key in new if old[key] != new[key]
    ]


def shown(value: Any) -> str:
    """Write a value as ``site.toml`` has it."""
    return "unset" if value is None else json.dumps(value, ensure_ascii=False)


def _unusable(path: Path, reason: str) -> SpecificationError:
    return home_unusable(
        path.parent,
        f"{reason}: look at [policy] and [data] group and sign them with `wardround site policy`",
    )


def _digest(document: dict[str, Any]) -> bytes:
    return keccak(_PURPOSE + canonical_bytes(document))
