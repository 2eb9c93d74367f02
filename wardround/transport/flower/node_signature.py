"""A node's signature, which Flower has it send with every request; it signs the time alone."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime

from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.supercore.constant import FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature

_SIGNATURE_MAX_LETTERS = 400


def is_signed(headers: Mapping[str, str], public_pem: bytes, now: datetime) -> bool:
    """Whether a request's headers are signed by a node key, in time.

    Args:
        headers: of the request.
        public_pem: the node key that the request names, known to be one.
        now: with a zone.
    """
    stated = headers.get(TIMESTAMP_HEADER, "")
    signature = headers.get(FLEET_HTTP_SIGNATURE_HEADER, "")
    if len(signature) > _SIGNATURE_MAX_LETTERS:
        return False
    try:
        age = (now - datetime.fromisoformat(stated)).total_seconds()
        given = base64.b64decode(signature, validate=True)
        if not -SYSTEM_TIME_TOLERANCE < age < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE:
            return False
        return verify_signature(bytes_to_public_key(public_pem), stated.encode("ascii"), given)
    except (ValueError, TypeError):  # no time, no zone, no Base64, not ASCII
        return False
