"""A site's mask setup: three sealed roots, their commitments, and the signatures of four parties.

The site and all three helpers sign the same typed data. A helper's signature is its
acknowledgement: both roots that are sealed to it open, and give the commitments. A contribution
signs the setup's digest, the hash of that typed data, from which a contract takes a commitment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Annotated, Any

from pydantic import Field

from wardround.protocol.canonical import canonical_bytes, sha256_digest
from wardround.protocol.contribution import Domain, check_signer, sign_digest
from wardround.protocol.documents import Form, parse_document
from wardround.protocol.errors import Malformed, StudyMismatch
from wardround.protocol.identifiers import Digest, Root, SiteAddress, StudyId, address_of, hex_of
from wardround.protocol.manifest import Signature
from wardround.protocol.masking.ratchet import HELPERS, SETS, ChainKey, KeyTree, MaskSet, holders_of
from wardround.protocol.masking.sealing import SEALED_BYTES
from wardround.protocol.masking.streams import SEGMENTS_MAX, Segments
from wardround.protocol.masking.typed_data import struct_hash, typed_digest
from wardround.protocol.report import Address, Hex32
from wardround.protocol.version import PROTOCOL
from wardround.protocol.version import Protocol as Spoken

SETUP_TYPE = (
    "MaskSetup(bytes32 study,address site,uint32 epoch,uint32 firstRound,uint32 lastRound,"
    "uint32 segments,address[3] helpers,bytes32[3] commitments,bytes32 sealed)"
)
#: A complete setup is about 15,500 bytes; anything larger is refused unread.
SETUP_MAX_BYTES = 20_480

SealedPair = tuple[bytes, bytes]


@dataclass(frozen=True)
class MaskSetup:
    """What is signed of a setup.

    Attributes:
        epoch: how many setups of this site in this study came before.
        first_round: the first round that it serves.
        last_round: the study's last.
        segments: of a vector.
        helpers: the three in force, in the study's order.
        commitments: of each set, the root of its segment keys (`KeyTree`).
        sealed: of each set, its root sealed to both holders in their order; `SEALED_BYTES` each.
    """

    study: StudyId
    site: SiteAddress
    epoch: int
    first_round: int
    last_round: int
    segments: int
    helpers: tuple[SiteAddress, SiteAddress, SiteAddress]
    commitments: tuple[Root, Root, Root]
    sealed: tuple[SealedPair, SealedPair, SealedPair]

    def __post_init__(self) -> None:
        """Refuse a setup that no site may make.

        Raises:
            Malformed: a helper twice, the site among them, a sealed root of another length, or no
                tree of such a size.
        """
        if len({*self.helpers, self.site}) != HELPERS + 1:
            raise Malformed("mask setup", "site and helpers must be four different accounts")
        if {len(one) for one in chain.from_iterable(self.sealed)} != {SEALED_BYTES}:
            raise Malformed("mask setup", f"a sealed root has {SEALED_BYTES} bytes")
        assert self.tree.size

    @property
    def tree(self) -> KeyTree:
        """The shape of each commitment's tree."""
        return KeyTree(self.first_round, self.last_round, self.segments)

    @property
    def digest(self) -> Digest:
        """The struct hash that contributions sign, 32 bytes."""
        sealed = sha256_digest(b"".join(chain.from_iterable(self.sealed)))
        rounds = (self.epoch, self.first_round, self.last_round, self.segments)
        return Digest(
            struct_hash(
                SETUP_TYPE, self.study, self.site, *rounds, self.helpers, self.commitments, sealed
            )
        )

    def signing_digest(self, domain: Domain) -> bytes:
        """EIP-712 digest that the site and all helpers sign, 32 bytes."""
        return typed_digest(domain, self.digest)

    def sign(self, domain: Domain, key: bytes) -> bytes:
        """Sign with the private key of the site or of a helper, 32 bytes; 65 bytes r, s, v."""
        return sign_digest(self.signing_digest(domain), key)

    def owner(self, domain: Domain, number: int) -> MaskSet:
        """Name one of the three sets, as keys and seals are bound to it."""
        return MaskSet(domain, self.study, self.site, self.epoch, number)

    def sealed_for(self, helper: SiteAddress) -> dict[int, bytes]:
        """The sealed roots of the two sets that a helper holds, by the set's number.

        Raises:
            Malformed: it is no helper of this setup.
        """
        if helper not in self.helpers:
            raise Malformed("mask setup", f"{helper} is none of its helpers")
        place = self.helpers.index(helper)
        return {
            number: self.sealed[number][holders_of(number).index(place)]
            for number in SETS
            if number != place
        }

    def check_root(self, domain: Domain, number: int, root: bytes) -> ChainKey:
        """Check an opened root before the setup is acknowledged.

        Args:
            domain: chain and contract.
            number: of the set.
            root: 32 bytes.
        Returns:
            The chain key of the setup's first round; the root can be erased then.
        Raises:
            Malformed: its segment keys are not those that the site committed to.
        """
        first = ChainKey.first(root, self.owner(domain, number), self.first_round)
        if self.tree.commitment(first) != self.commitments[number]:
            reason = f"the root of set {number} does not give its commitment: do not acknowledge it"
            raise Malformed("mask setup", reason)
        return first

    def check_terms(
        self,
        study: StudyId,
        helpers: tuple[str, str, str],
        segments: Segments,
        round_number: int,
    ) -> None:
        """Check that the setup serves a round of this study as it is now.

        Args:
            study: the study.
            helpers: those in force, in the study's order.
            segments: how the study's vectors are cut.
            round_number: the round's.
        Raises:
            StudyMismatch: another study, other helpers, a tree of another shape, or a later round
                from which on it serves.
        """
        advice = "have the site make a new setup"
        for what, expected, found in (
            ("study of a mask setup", hex_of(study), hex_of(self.study)),
            ("its helpers", ", ".join(helpers), ", ".join(self.helpers)),
            ("its last round", str(segments.rounds), str(self.last_round)),
            ("its number of segments", str(segments.count), str(self.segments)),
        ):
            if expected != found:
                raise StudyMismatch(what, expected, found, advice)
        if self.first_round > round_number:
            what, first = "first round of a mask setup", f"{self.first_round}"
            raise StudyMismatch(what, f"round {round_number}", first, advice)


@dataclass(frozen=True)
class SignedSetup:
    """A setup as it is stored: the site's signature, and the acknowledgements there are.

    ``acknowledgements`` are the helpers' signatures in their order, None where one is missing.
    """

    domain: Domain
    setup: MaskSetup
    signature: bytes
    acknowledgements: tuple[bytes | None, bytes | None, bytes | None] = (None, None, None)

    @property
    def is_complete(self) -> bool:
        """Whether all helpers have signed: a cohort takes no other."""
        return None not in self.acknowledgements

    def acknowledged(self, helper: SiteAddress, signature: bytes) -> SignedSetup:
        """Add a helper's acknowledgement.

        Raises:
            Malformed: it is no helper of this setup.
            SignatureInvalid: the helper did not make this signature.
        """
        if helper not in self.setup.helpers:
            raise Malformed("mask setup", f"{helper} is none of its helpers")
        check_signer(helper, self.setup.signing_digest(self.domain), signature)
        place = self.setup.helpers.index(helper)
        first, second, third = (
            signature if number == place else one
            for number, one in enumerate(self.acknowledgements)
        )
        return replace(self, acknowledgements=(first, second, third))

    def check_signatures(self) -> None:
        """Check the site's signature and every acknowledgement there is.

        Raises:
            SignatureInvalid: one was not made by its party.
        """
        digest = self.setup.signing_digest(self.domain)
        check_signer(self.setup.site, digest, self.signature)
        for helper, signature in zip(self.setup.helpers, self.acknowledgements, strict=True):
            if signature is not None:
                check_signer(helper, digest, signature)

    def encode(self) -> bytes:
        """Write the RFC 8785 form that is stored."""
        setup = self.setup
        return canonical_bytes(
            {
                "protocol": PROTOCOL,
                "chain_id": self.domain.chain_id,
                "contract": self.domain.contract.lower(),
                "study": hex_of(setup.study),
                "site": setup.site.lower(),
                "epoch": setup.epoch,
                "first_round": setup.first_round,
                "last_round": setup.last_round,
                "segments": setup.segments,
                "helpers": [helper.lower() for helper in setup.helpers],
                "commitments": [hex_of(root) for root in setup.commitments],
                "sealed": [[hex_of(one) for one in pair] for pair in setup.sealed],
                "signature": hex_of(self.signature),
                "acknowledgements": [
                    None if one is None else hex_of(one) for one in self.acknowledgements
                ],
            }
        )


_Number = Annotated[int, Field(ge=1, lt=2**32)]
_Sealed = Annotated[str, Field(pattern=rf"^0x[0-9a-f]{{{2 * SEALED_BYTES}}}$")]


def _listed(count: int) -> Any:
    return Field(min_length=count, max_length=count)


class SetupForm(Form):
    """The document of a setup; lists, because JSON has no tuples."""

    protocol: Spoken
    chain_id: Annotated[int, Field(ge=1, lt=2**53)]
    contract: Address
    study: Hex32
    site: Address
    epoch: Annotated[int, Field(ge=0, lt=2**32)]
    first_round: _Number
    last_round: _Number
    segments: Annotated[int, Field(ge=1, le=SEGMENTS_MAX)]
    helpers: Annotated[list[Address], _listed(HELPERS)]
    commitments: Annotated[list[Hex32], _listed(HELPERS)]
    sealed: Annotated[list[Annotated[list[_Sealed], _listed(2)]], _listed(HELPERS)]
    signature: Signature
    acknowledgements: Annotated[list[Signature | None], _listed(HELPERS)]


def parse_setup(data: bytes | memoryview) -> SignedSetup:
    """Read a setup's document; check its signatures and terms before it is used.

    Raises:
        Malformed: too long, not in RFC 8785 form, an unknown or missing key, a value out of range,
            or accounts that are not different.
    """
    form = parse_document(SetupForm, data, "mask setup", SETUP_MAX_BYTES)
    return _signed(form.model_dump())


def _signed(value: Mapping[str, Any]) -> SignedSetup:
    setup = MaskSetup(
        study=StudyId(_bytes(value["study"])),
        site=address_of(value["site"]),
        epoch=value["epoch"],
        first_round=value["first_round"],
        last_round=value["last_round"],
        segments=value["segments"],
        helpers=_three(map(address_of, value["helpers"])),
        commitments=_three(Root(_bytes(one)) for one in value["commitments"]),
        sealed=_three((_bytes(one), _bytes(other)) for one, other in value["sealed"]),
    )
    acknowledgements = _three(
        None if one is None else _bytes(one) for one in value["acknowledgements"]
    )
    domain = Domain(value["chain_id"], address_of(value["contract"]))
    return SignedSetup(domain, setup, _bytes(value["signature"]), acknowledgements)


def _three(values: Any) -> Any:
    first, second, third = values
    return first, second, third


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
