"""The manifest: the file that lists everything needed to replay a round.

RFC 8785 JSON; its SHA-256 is on chain. It holds nothing that cannot be recomputed or checked, and
nothing that follows from the rest: a share of the reward is `wardround.protocol.rewards`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.contribution import Entry
from wardround.protocol.documents import Form, parse_document
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import Digest, Root, address_of, bytes32
from wardround.protocol.reasons import known_reason
from wardround.protocol.report import Address, Hex32
from wardround.protocol.version import Protocol

#: One content chunk, so that a manifest's CID follows from its SHA-256 alone: about 1400 sites.
MANIFEST_MAX_BYTES = 1 << 20

CidText = Annotated[str, Field(pattern=r"^b[a-z2-7]{20,120}$")]
Signature = Annotated[str, Field(pattern=r"^0x[0-9a-f]{130}$")]


class _Part(Form):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=to_camel, populate_by_name=True
    )


class VectorRef(_Part):
    """A stored vector: its root, and the CID that leads to it."""

    root: Hex32
    cid: CidText


class RowsRef(_Part):
    """Stored rows: the tree hash over them, and the CID of all of them one behind the other."""

    root: Hex32
    cid: CidText


class DocumentRef(_Part):
    """A stored document: its SHA-256, and the CID that leads to it."""

    sha256: Hex32
    cid: CidText


class ManifestEntry(_Part):
    """One contribution as recorded."""

    site: Address
    weight: Annotated[int, Field(ge=1, lt=2**31)]
    update: VectorRef
    report: DocumentRef
    signature: Signature

    @classmethod
    def of(cls, entry: Entry, update_cid: str, report_cid: str) -> ManifestEntry:
        """Write an entry down together with where its objects are."""
        return cls(
            site=entry.site.lower(),
            weight=entry.weight,
            update=VectorRef(root="0x" + entry.update.hex(), cid=update_cid),
            report=DocumentRef(sha256="0x" + entry.report.hex(), cid=report_cid),
            signature="0x" + entry.signature.hex(),
        )

    def entry(self) -> Entry:
        """Read the entry back, as it is packed and hashed."""
        return Entry(
            site=address_of(self.site),
            weight=self.weight,
            update=Root(bytes32(self.update.root, "update root")),
            report=Digest(bytes32(self.report.sha256, "report digest")),
            signature=bytes.fromhex(self.signature[2:]),
        )


class Dropped(_Part):
    """A site that was asked and is not in the round: a word for why, and what was seen."""

    site: Address
    reason: Annotated[str, AfterValidator(known_reason)]
    evidence: Annotated[str, Field(max_length=300)]


class RuleRef(_Part):
    """The aggregation rule."""

    name: str
    argument: int


class ScoringRef(_Part):
    """The scoring rule."""

    name: str


class Manifest(_Part):
    """Everything needed to replay a round."""

    protocol: Protocol
    chain_id: Annotated[int, Field(ge=1, lt=2**53)]
    contract: Address
    study: Hex32
    round: Annotated[int, Field(ge=1, lt=2**32)]
    coordinator: Address
    parameters: Annotated[int, Field(ge=1, lt=2**32)]
    scale_bits: Annotated[int, Field(ge=0, le=30)]
    rule: RuleRef
    base: VectorRef
    model: VectorRef
    contributions: Annotated[list[ManifestEntry], Field(min_length=1)]
    dropped: list[Dropped]
    scoring: ScoringRef
    #: What the round commits to by name.
    commitments: dict[str, RowsRef]

    def encode(self) -> bytes:
        """Write the RFC 8785 form that is hashed and stored.

        Raises:
            Malformed: longer than one content chunk.
        """
        data = canonical_bytes(self.model_dump(mode="json", by_alias=True))
        if len(data) > MANIFEST_MAX_BYTES:
            raise Malformed("manifest", f"{len(data)} bytes: too many sites for one round")
        return data

    def committed(self) -> dict[str, Root]:
        """The roots of what the round commits to, by name."""
        return {name: Root(bytes32(rows.root, name)) for name, rows in self.commitments.items()}


def parse_manifest(data: bytes | memoryview) -> Manifest:
    """Read a manifest.

    Raises:
        Malformed: too long, an unknown field, or a value out of range; not in RFC 8785 form.
        ProtocolError: made by another protocol; names it.
    """
    return parse_document(Manifest, data, "manifest", MANIFEST_MAX_BYTES)
