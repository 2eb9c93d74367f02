"""What the contract knows of a study and of a closed round.

Source:
    WardRoundTypes.sol: StudyParams, Record, Closing. Field order is the ABI's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from dataclasses import fields as dataclass_fields
from enum import IntEnum
from typing import Any

from eth_abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils import keccak, to_checksum_address

from wardround.protocol.errors import Malformed, StudyMismatch
from wardround.protocol.fixed_point import IntVector, counts_from_bytes, vector_from_bytes
from wardround.protocol.identifiers import Digest, Root, StudyId, address_of, hex_of

ZERO_ADDRESS = "0x" + "00" * 20


class Recording(IntEnum):
    """How a round reaches the chain: all entries, or the roots alone."""

    FULL = 0
    ROOT = 1


class RuleId(IntEnum):
    """Aggregation rules in the contract's order."""

    MEAN = 0
    MEDIAN = 1
    TRIMMED_MEAN = 2
    SUM = 3
    CLIPPED_MEAN = 4
    MULTI_KRUM = 5

    @property
    def coordinate_bytes(self) -> int:
        """Bytes of a coordinate, in every vector of a study with this rule."""
        return 8 if self is RuleId.SUM else 4


class ScoringId(IntEnum):
    """Scoring rules in the contract's order."""

    EXAMPLES = 0
    PROJECTION = 1


PARAMS_ABI = (
    "(address,address,uint128,uint96,uint96,uint128,uint128,"
    "uint32,uint32,uint32,uint32,uint32,uint32,uint32,uint32,"
    "uint16,uint16,"
    "uint8,bool,uint8,uint16,uint8,uint32,uint32,bytes32,bytes32,bytes32,bytes32)"
)
#: Length of the encoding: every field is one word.
PARAMS_BYTES = 32 * (PARAMS_ABI.count(",") + 1)
RECORD_ABI = "(bytes32,bytes32,bytes32,bytes32,uint32,uint64)"
_CLOSING_ABI = f"({RECORD_ABI},address,uint64)"


@dataclass(frozen=True)
class StudyParties:
    """Who closes a study's rounds, in order, and whose attestations count. Addresses."""

    coordinators: tuple[str, ...]
    auditors: tuple[str, ...] = ()

    @classmethod
    def of(cls, coordinators: Iterable[str], auditors: Iterable[str] = ()) -> StudyParties:
        """Take both lists in their order, each address with its checksum.

        Raises:
            Malformed: one is not an address.
        """
        return cls(tuple(map(address_of, coordinators)), tuple(map(address_of, auditors)))

    @property
    def digest(self) -> bytes:
        """``keccak256(abi.encode(coordinators, auditors))``, 32 bytes."""
        return keccak(encode(["address[]", "address[]"], [self.coordinators, self.auditors]))


@dataclass(frozen=True)
class StudyParams:
    """Everything about a study that can never change. Amounts in the token's smallest unit."""

    sponsor: str
    token: str
    reward_per_round: int
    bond: int
    deposit: int
    closing_fee: int
    attesting_fee: int
    rounds: int
    challenge_seconds: int
    objection_seconds: int
    round_seconds: int
    grace_seconds: int
    registration_seconds: int
    demand_seconds: int
    lifetime_seconds: int
    min_sites: int
    auditor_quorum: int
    recording: Recording
    #: Whether a round's cohort is locked on chain before the round is closed with it.
    locked_cohort: bool
    rule: RuleId
    rule_argument: int
    scoring: ScoringId
    parameter_count: int
    #: Largest magnitude of an update's coordinate, in fixed point.
    update_bound: int
    initial_model: Root
    specification: Digest
    code: Digest
    #: `StudyParties.digest`.
    parties: bytes

    @property
    def study_id(self) -> StudyId:
        """``keccak256(abi.encode(params))``, 32 bytes."""
        return StudyId(keccak(self.encode()))

    def encode(self) -> bytes:
        """ABI encoding, `PARAMS_BYTES` long."""
        return encode([PARAMS_ABI], [self.abi()])

    @classmethod
    def from_abi(cls, values: Sequence[Any]) -> StudyParams:
        """Read the tuple that the contract's ABI gives."""
        fields = dict(zip((field.name for field in dataclass_fields(cls)), values, strict=True))
        fields["sponsor"] = to_checksum_address(fields["sponsor"])
        fields["token"] = to_checksum_address(fields["token"])
        fields["recording"] = Recording(fields["recording"])
        fields["rule"] = RuleId(fields["rule"])
        fields["scoring"] = ScoringId(fields["scoring"])
        return cls(**fields)

    @classmethod
    def decode(cls, data: bytes) -> StudyParams:
        """Read an ABI encoding.

        Raises:
            Malformed: not the encoding of study parameters.
        """
        try:
            return cls.from_abi(_decode_exactly(PARAMS_ABI, data))
        except ValueError as error:
            raise Malformed("study parameters", str(error)) from error

    @property
    def vector_size(self) -> int:
        """Bytes of each of the study's vectors."""
        return self.parameter_count * self.rule.coordinate_bytes

    def read_vector(self, data: bytes | memoryview) -> IntVector:
        """Read one of the study's vectors as it is stored, without copying it.

        Args:
            data: exactly `vector_size` bytes.
        Returns:
            int32, of a sum int64, shape (P,), read-only.
        Raises:
            ProtocolError: another length.
        """
        if self.rule is RuleId.SUM:
            return counts_from_bytes(data, self.parameter_count)
        return vector_from_bytes(data, self.parameter_count)

    def check_parties(self, parties: StudyParties) -> None:
        """Compare coordinators and auditors with those that the study's id names.

        Raises:
            StudyMismatch: they are others, or in another order.
        """
        if parties.digest != self.parties:
            found = hex_of(parties.digest)
            raise StudyMismatch("coordinators and auditors", hex_of(self.parties), found)

    def abi(self) -> tuple[Any, ...]:
        """The tuple that the contract's ABI takes."""
        return astuple(self)


@dataclass(frozen=True)
class Record:
    """What a round commits to.

    ``commitments`` is the root of what it commits to by name (`commitments_root`).
    """

    contributions: Root
    model: Root
    manifest: Digest
    commitments: Root
    count: int
    total_weight: int

    def abi(self) -> tuple[Any, ...]:
        """The tuple that the contract's ABI takes."""
        return astuple(self)


@dataclass(frozen=True)
class Closing:
    """A record with who closed the round and when (seconds since 1970)."""

    record: Record
    coordinator: str
    closed_at: int

    @property
    def commitment(self) -> bytes:
        """``keccak256(abi.encode(closing))``: the one slot that the contract keeps a round."""
        return keccak(self.encode())

    def encode(self) -> bytes:
        """ABI encoding, 256 bytes."""
        return encode([_CLOSING_ABI], [self.abi()])

    @classmethod
    def from_abi(cls, values: Sequence[Any]) -> Closing:
        """Read the tuple that the contract's ABI gives."""
        record, coordinator, closed_at = values
        return cls(Record(*record), to_checksum_address(coordinator), closed_at)

    @classmethod
    def decode(cls, data: bytes) -> Closing:
        """Read an ABI encoding.

        Raises:
            Malformed: not the encoding of a closing.
        """
        try:
            return cls.from_abi(_decode_exactly(_CLOSING_ABI, data))
        except ValueError as error:
            raise Malformed("closing", str(error)) from error

    def abi(self) -> tuple[Any, ...]:
        """The tuple that the contract's ABI takes."""
        return (self.record.abi(), self.coordinator, self.closed_at)


def _decode_exactly(abi: str, data: bytes) -> Any:
    """Decode one value whose every byte counts, so that one value has one encoding."""
    try:
        (value,) = decode([abi], data)
    except (DecodingError, OverflowError) as error:
        raise ValueError(str(error)) from error
    if encode([abi], [value]) != data:
        raise ValueError("bytes that mean nothing follow or pad it")
    return value


def genesis_closing(initial_model: Root) -> Closing:
    """The closing of round 0: no contributions, the initial model."""
    nothing = bytes(32)
    record = Record(Root(nothing), initial_model, Digest(nothing), Root(nothing), 0, 0)
    return Closing(record, ZERO_ADDRESS, 0)


#: All zero: for calls that do not look at their closing.
NO_CLOSING = genesis_closing(Root(bytes(32)))
