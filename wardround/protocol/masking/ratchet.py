"""Keys of mask streams: a chain key for each round, segment keys under each, stream keys of those.

``root -> chain key -> next chain key ...`` goes one way, so keys of past rounds are gone once their
chain key is erased. A segment key follows from its chain key alone: the site commits to those of
all rounds at setup, when neither base models nor attempts are known. The stream key is a SHA-256 of
segment key, base model and attempt: a contract that is shown a segment key checks it by the
commitment and computes the stream key with one precompile, and no stream is ever used for two
bases or attempts. Only a segment key that a dispute has opened is spent for its whole round: see
docs/masking.md.

Source:
    HMAC (RFC 2104) with SHA-256 as a pseudo-random function; RFC 9162 section 2.1 for the tree.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from wardround.protocol.contribution import Domain
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import Root, SiteAddress, StudyId
from wardround.protocol.masking.streams import KEY_BYTES, KEYS_MAX
from wardround.protocol.merkle import entries_root, inclusion_proof, is_included, leaf_hash

HELPERS = 3
#: The seed sets: set s is held by all helpers but number s.
SETS = tuple(range(HELPERS))

_CHAIN = b"wardround/2 mask chain"
_NEXT = b"wardround/2 mask next"
_SEGMENT = b"wardround/2 mask segment"
_STREAM = b"wardround/2 mask stream"
_LEAF = b"wardround/2 mask leaf"


def holders_of(set_number: int) -> tuple[int, int]:
    """Places of the two helpers that hold a set, ascending."""
    first, second = (place for place in SETS if place != set_number)
    return first, second


@dataclass(frozen=True)
class MaskSet:
    """Which seed set: of one site in one study on one chain, in one of its setups.

    ``epoch`` counts the site's setups in this study from 0; ``number`` is 0, 1 or 2.
    """

    domain: Domain
    study: StudyId
    site: SiteAddress
    epoch: int
    number: int

    def encode(self) -> bytes:
        """89 bytes that no other set has: domain separator, study, site, epoch, number."""
        return (
            self.domain.separator
            + self.study
            + bytes.fromhex(self.site[2:])
            + self.epoch.to_bytes(4, "big")
            + self.number.to_bytes(1, "big")
        )


@dataclass(frozen=True)
class ChainKey:
    """The secret of one round in one set; those of later rounds follow from it, none of earlier."""

    round: int
    key: bytes = field(repr=False)

    @classmethod
    def first(cls, root: bytes, owner: MaskSet, first_round: int) -> ChainKey:
        """Start a setup's chain from its root of 32 random bytes.

        Raises:
            Malformed: the root has another length.
        """
        if len(root) != KEY_BYTES:
            raise Malformed("mask root", f"{len(root)} bytes where {KEY_BYTES} belong")
        return cls(first_round, _derived(root, _CHAIN + owner.encode()))

    def next(self) -> ChainKey:
        """The key of the round after this."""
        return ChainKey(self.round + 1, _derived(self.key, _NEXT))

    def at(self, round_number: int) -> ChainKey:
        """The key of this round or a later one.

        Raises:
            Malformed: an earlier round.
        """
        if round_number < self.round:
            raise Malformed(
                f"round {round_number}", f"its key is gone, that of {self.round} is not"
            )
        found = self
        while found.round < round_number:
            found = found.next()
        return found

    def segment_keys(self, count: int) -> list[bytes]:
        """The round's segment keys, 32 bytes each."""
        return [
            _derived(self.key, _SEGMENT + segment.to_bytes(4, "big")) for segment in range(count)
        ]


def stream_key(segment_key: bytes, base_model: Root, attempt: int) -> bytes:
    """Key of the one stream that a segment has on a base model in an attempt, 32 bytes."""
    written = _STREAM + segment_key + base_model + attempt.to_bytes(4, "big")
    return sha256(written).digest()


def stream_keys(key: ChainKey, count: int, base_model: Root, attempt: int) -> list[bytes]:
    """Stream keys of all segments of a round, as `add_stream` takes them."""
    return [stream_key(one, base_model, attempt) for one in key.segment_keys(count)]


@dataclass(frozen=True)
class KeyTree:
    """The shape of the tree over a setup's segment keys: round by round, each segment by segment.

    Attributes:
        first_round: the setup's first, at least 1.
        last_round: the study's last.
        segments: of a vector.
    """

    first_round: int
    last_round: int
    segments: int

    def __post_init__(self) -> None:
        """Refuse a tree without leaves, or too large for a site to compute.

        Raises:
            Malformed: it is.
        """
        if not (1 <= self.first_round <= self.last_round and self.segments >= 1):
            raise Malformed("mask setup", "it has no rounds or segments")
        if self.size > KEYS_MAX:
            raise Malformed("mask setup", f"{self.size} segment keys exceed {KEYS_MAX}")

    @property
    def size(self) -> int:
        """How many leaves it has."""
        return (self.last_round - self.first_round + 1) * self.segments

    def index(self, round_number: int, segment: int) -> int:
        """Place of a segment key's leaf, from 0.

        Raises:
            Malformed: the setup has no such round or segment.
        """
        if not (
            self.first_round <= round_number <= self.last_round and 0 <= segment < self.segments
        ):
            raise Malformed(f"segment {segment} of round {round_number}", "not of this setup")
        return (round_number - self.first_round) * self.segments + segment

    def commitment(self, first: ChainKey) -> Root:
        """Commit to the segment keys of all rounds, given the key of the first one."""
        return entries_root(self._leaves(first))

    def proof(self, first: ChainKey, round_number: int, segment: int) -> list[bytes]:
        """The audit path of one segment key, given the key of the first round.

        Raises:
            Malformed: the setup has no such round or segment.
        """
        index = self.index(round_number, segment)
        return inclusion_proof([leaf_hash(one) for one in self._leaves(first)], index)

    def proves(
        self, commitment: Root, round_number: int, segment: int, key: bytes, path: Sequence[bytes]
    ) -> bool:
        """Whether a segment key is the one that was committed to.

        Raises:
            Malformed: the setup has no such round or segment.
        """
        index = self.index(round_number, segment)
        leaf = leaf_hash(leaf_data(round_number, segment, key))
        return is_included(commitment, leaf, index, self.size, path)

    def _leaves(self, first: ChainKey) -> Iterator[bytes]:
        key = first.at(self.first_round)
        while key.round <= self.last_round:
            for segment, one in enumerate(key.segment_keys(self.segments)):
                yield leaf_data(key.round, segment, one)
            key = key.next()


def leaf_data(round_number: int, segment: int, key: bytes) -> bytes:
    """What a leaf of the tree is the hash of: tag, round, segment and the segment key."""
    return _LEAF + round_number.to_bytes(4, "big") + segment.to_bytes(4, "big") + key


def _derived(key: bytes, label: bytes) -> bytes:
    return hmac.digest(key, label, "sha256")
