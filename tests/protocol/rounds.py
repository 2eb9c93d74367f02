"""A study in memory, as pure as the protocol: sites with keys, a store that is a dictionary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from eth_keys import keys
from eth_utils import keccak

from wardround.protocol.canonical import canonical_bytes, sha256_digest
from wardround.protocol.checks import History
from wardround.protocol.cid import cid_of
from wardround.protocol.contribution import Domain, Entry, pack_entries, sort_entries
from wardround.protocol.facts import Member, StudyFacts
from wardround.protocol.fixed_point import Int32Vector, vector_bytes, vector_from_bytes
from wardround.protocol.identifiers import Digest, Root, SiteAddress, hex_of
from wardround.protocol.manifest import Dropped
from wardround.protocol.merkle import vector_root
from wardround.protocol.record import Closing, Record, Recording, StudyParams, StudyParties
from wardround.protocol.replay import ClosedRound, Replayed, replay_round
from wardround.protocol.rules import aggregate
from wardround.protocol.settlement import RoundFrame, Settlement, Vector, settle
from wardround.protocol.study import StudySpec
from wardround.store.errors import ObjectMissing

PARAMETERS = 300  # two chunks of a vector's tree
CODE = Digest(b"\x11" * 32)
CAP = 1000
COORDINATOR = "0x" + "C0" * 20


def study_spec(**tables: Mapping[str, Any]) -> StudySpec:
    """A small study; tables named are merged over the defaults."""
    value: dict[str, Any] = {
        "study": {"name": "memory", "rounds": 5, "seed": 3},
        "model": {"name": "logistic", "arguments": {"features": PARAMETERS - 1}},
        "training": {"learning_rate": 0.5, "batch_size": 0, "local_steps": 1},
        "aggregation": {"min_sites": 2},
        "rewards": {"per_round": "1000"},
    }
    for name, table in tables.items():
        value[name] = {**value.get(name, {}), **table}
    return StudySpec.model_validate(value)


def key_of(place: int) -> bytes:
    """The same key for the same place, so that examples repeat."""
    return keccak(b"site %d" % place)


def address_of(key: bytes) -> SiteAddress:
    return SiteAddress(keys.PrivateKey(key).public_key.to_checksum_address())


@dataclass
class Memory:
    """A study and everything stored of it.

    Attributes:
        base: model after the rounds settled so far.
    """

    spec: StudySpec = field(default_factory=study_spec)
    sites: int = 3
    objects: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.base = Vector.of(np.arange(PARAMETERS, dtype=np.int32))
        self.round = 1
        self.history = History()
        self.keys = {address_of(key_of(place)): key_of(place) for place in range(self.sites)}
        params: StudyParams = self.spec.params(
            sponsor="0x" + "51" * 20,
            token="0x" + "70" * 20,
            parameter_count=PARAMETERS,
            initial_model=self.base.root,
            code=CODE,
            parties=StudyParties.of(["0x" + "c0" * 20]).digest,
        )
        members = {site: Member(CAP, 1, 2**32 - 1) for site in self.keys}
        self.facts = StudyFacts(Domain(31337, "0x" + "AB" * 20), params, members)
        self.put(canonical_bytes(self.spec.document()))
        self.put(self.base.data)

    def put(self, data: bytes) -> str:
        cid = cid_of(data)
        self.objects[cid] = bytes(data)
        return cid

    def fetch(self, cid: str, max_bytes: int) -> bytes:
        """Read an object; whatever it names is what it is, as every store of ours verifies."""
        if cid not in self.objects:
            raise ObjectMissing(cid, "memory")
        data = self.objects[cid]
        assert len(data) <= max_bytes
        assert cid_of(data) == cid
        return data

    def report(self, owner: SiteAddress, **changes: Any) -> bytes:
        values = {
            "study": hex_of(self.facts.study),
            "round": self.round,
            "site": owner.lower(),
            "examples": CAP,
            "metrics": {"train_loss": 0.5},
            "privacy": None,
            "code": hex_of(CODE),
            "seconds": 2,
        }
        return canonical_bytes({**values, **changes})

    def signed(self, entry: Entry, key: bytes | None = None) -> Entry:
        """Sign an entry with its site's key, or another one."""
        statement = entry.contribution(self.facts.study, self.round, self.base.root)
        signature = statement.sign(self.facts.domain, key or self.keys[entry.site])
        return replace(entry, signature=signature)

    def contribution(
        self,
        site: SiteAddress,
        update: Int32Vector | None = None,
        weight: int | None = None,
        report: bytes | None = None,
    ) -> tuple[Entry, str, str]:
        """Sign and store a contribution: entry, CIDs of update and report."""
        place = list(self.keys).index(site)
        if update is None:
            update = random_update(self.round * 100 + place)
        data, report = vector_bytes(update), report or self.report(site)
        weight = 10 + place if weight is None else weight
        entry = Entry(site, weight, vector_root(data), sha256_digest(report), bytes(65))
        return self.signed(entry), self.put(data), self.put(report)

    def contributions(self) -> list[tuple[Entry, str, str]]:
        return in_order([self.contribution(site) for site in self.keys])

    def update(self, cid: str) -> Int32Vector:
        return vector_from_bytes(self.objects[cid], PARAMETERS)

    @property
    def frame(self) -> RoundFrame:
        return RoundFrame(
            self.facts.domain,
            self.facts.study,
            self.spec,
            self.round,
            COORDINATOR,
            self.base,
        )

    def settle(
        self,
        made: Sequence[tuple[Entry, str, str]] | None = None,
        dropped: Sequence[Dropped] = (),
        frame: RoundFrame | None = None,
    ) -> tuple[Settlement, ClosedRound]:
        """Settle a round as an honest coordinator does, and store what it commits to."""
        made = self.contributions() if made is None else made
        entries = [entry for entry, _, _ in made]
        updates = [self.update(cid) for _, cid, _ in made]
        total = aggregate(self.spec.rule, updates, [entry.weight for entry in entries])
        objects = [(update, report) for _, update, report in made]
        settled = settle(frame or self.frame, entries, objects, total, dropped, updates)
        self.put(settled.model.data)
        for name in settled.commitments.rows:
            self.put(settled.commitments.data(name))
        self.put(settled.manifest_data)
        return settled, self.closed(settled.record, entries)

    def closed(self, record: Record, entries: Sequence[Entry]) -> ClosedRound:
        """The round as the chain would have it."""
        full = self.facts.params.recording is Recording.FULL
        packed = pack_entries(entries) if full else None
        return ClosedRound(self.round, Closing(record, COORDINATOR, 1_760_000_000), packed)

    def replay(self, closed: ClosedRound) -> Settlement:
        return self.replayed(closed).settlement

    def replayed(self, closed: ClosedRound) -> Replayed:
        return replay_round(self.facts, self.spec, self.base, closed, self.fetch, self.history)

    def go_on(self, settled: Settlement) -> None:
        """Take a settled round as done."""
        self.history = self.history.after(settled.manifest, self.spec, self.fetch)
        self.base, self.round = settled.model, self.round + 1


def in_order(made: Sequence[tuple[Entry, str, str]]) -> list[tuple[Entry, str, str]]:
    by_site = {entry.site: (entry, update, report) for entry, update, report in made}
    return [by_site[entry.site] for entry in sort_entries([entry for entry, _, _ in made])]


def random_update(seed: int, magnitude: int = 2**20) -> Int32Vector:
    random = np.random.default_rng(seed)
    return random.integers(-magnitude, magnitude, PARAMETERS, dtype=np.int32)


def root_of(update: Int32Vector) -> Root:
    return vector_root(vector_bytes(update))
