"""Small studies on a chain of their own, which a dishonest coordinator or site can bend anywhere.

A study is played honestly up to its last round once; each lie then goes on from a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import numpy as np
from eth.db.atomic import AtomicDB
from eth.db.backends.memory import MemoryDB
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

from tests.protocol.rounds import (
    CAP,
    PARAMETERS,
    Memory,
    address_of,
    in_order,
    key_of,
    study_spec,
)
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.checks import History
from wardround.protocol.cid import Cid, cid_of
from wardround.protocol.contribution import Entry, pack_entries
from wardround.protocol.fixed_point import Int32Vector
from wardround.protocol.identifiers import Digest, Root, SiteAddress, StudyId, hex_of
from wardround.protocol.manifest import Dropped
from wardround.protocol.record import (
    Closing,
    Record,
    Recording,
    StudyParams,
    StudyParties,
    genesis_closing,
)
from wardround.protocol.settlement import RoundFrame, Settlement, Vector
from wardround.protocol.study import StudySpec
from wardround.store import Store
from wardround.store.base import MAX_OBJECT_BYTES
from wardround.store.errors import ObjectAltered, ObjectMissing, ObjectTooLarge

SITES, ROUNDS = 4, 2
#: Of whom the last is left out of each round.
CODE = Digest(b"\x11" * 32)
_ETHER = 10**18
_NAMES = count()


class KeptInMemory(Store):
    """Objects in memory, verified when they are read, as every store does."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def put(self, data: bytes | memoryview) -> Cid:
        cid = cid_of(data)
        self.objects[cid] = bytes(data)
        return cid

    def get(self, cid: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        if cid not in self.objects:
            raise ObjectMissing(cid, "memory")
        data = self.objects[cid]
        if len(data) > max_bytes:
            raise ObjectTooLarge(cid, len(data), max_bytes)
        if cid_of(data) != cid:
            raise ObjectAltered(cid, cid_of(data), "memory")
        return data

    def map(self, cid: str, max_bytes: int = MAX_OBJECT_BYTES) -> memoryview:
        return memoryview(self.get(cid, max_bytes))

    def has(self, cid: str) -> bool:
        return cid in self.objects

    def size(self, cid: str) -> int | None:
        return len(self.get(cid))

    def cids(self) -> Iterator[Cid]:
        yield from map(Cid, sorted(self.objects))


def account(name: str) -> LocalAccount:
    """The same account for the same name, so that a run repeats."""
    made: LocalAccount = Account.from_key(keccak(text=name))
    return made


SPONSOR, COORDINATOR, AUDITOR = map(account, ("sponsor", "coordinator", "auditor"))
PARTIES = StudyParties.of([COORDINATOR.address], [AUDITOR.address])


def forked(chain: EmbeddedChain) -> EmbeddedChain:
    """Copy a chain with its blocks and state: neither hears of the other again."""
    made = EmbeddedChain(f"lies-{next(_NAMES)}", chain.genesis)
    old, new = chain.provider, made.provider
    kept = dict(old.evm._chain.chaindb.db.wrapped_db.kv_store)
    backend = MemoryDB()
    backend.kv_store = kept
    new.evm._chain = type(old.evm._chain)(AtomicDB(backend))
    for name in ("_transactions", "_blocks", "_hashes", "_offset_seconds"):
        setattr(new, name, copy(getattr(old, name)))
    return made


@dataclass(frozen=True)
class Ground:
    """A chain with the contract and a token, and no study yet."""

    chain: EmbeddedChain
    ward: str
    token: str

    @classmethod
    @cache
    def made(cls) -> Ground:
        balances: dict[str, int] = dict.fromkeys(
            [SPONSOR.address, COORDINATOR.address], 10_000 * _ETHER
        )
        chain = EmbeddedChain("lies", Genesis(31337, 1_760_000_000, balances))
        token = StudyToken.deploy(chain, SPONSOR, 10**30)
        return cls(chain, WardRound.deploy(chain, SPONSOR).address, token.address)


class Played(Memory):
    """A study on a chain whose coordinator and sites do as the caller likes.

    `Memory` makes contributions and settles rounds; here the chain has them too.

    Attributes:
        previous: closing of the round before the open one.
    """

    def __init__(self, chain: EmbeddedChain, ward: str, spec: StudySpec, study: StudyId) -> None:
        """Take a study that was created."""
        self.chain, self.address, self.spec, self.study = chain, ward, spec, study
        self.sites, self.objects = SITES, {}
        self.round, self.history = 1, History()
        self.keys = keys()
        self.facts = self.ward.facts(study)
        self.previous = genesis_closing(self.facts.params.initial_model)

    @classmethod
    def created(
        cls,
        spec: StudySpec,
        parameters: StudyParams | None = None,
        document: bytes | None = None,
    ) -> Played:
        """Create a study; nothing of it is paid yet.

        Args:
            spec: what its sites and coordinator go by.
            parameters: others than follow from it.
            document: the specification as it is stored, where that is another.
        Raises:
            ContractReverted: the contract takes no such study.
        """
        ground = Ground.made()
        chain = forked(ground.chain)
        base = Vector.of(first_model())
        params = parameters or parameters_of(spec, base)
        WardRound(chain, ground.ward).create_study(SPONSOR, params, PARTIES)
        made = cls(chain, ground.ward, spec, params.study_id)
        made.base = base
        made.put(canonical_bytes(spec.document()) if document is None else document)
        made.put(base.data)
        return made

    def opened(self) -> Played:
        """Fund the study, admit its sites, and open its first round."""
        params, ward = self.facts.params, self.ward
        token = StudyToken(self.chain, params.token)
        fees = params.closing_fee + params.attesting_fee
        needed = (params.reward_per_round + fees) * params.rounds
        token.approve(SPONSOR, ward.address, needed)
        ward.fund(SPONSOR, self.study, needed)
        token.transfer(SPONSOR, COORDINATOR.address, params.bond)
        token.approve(COORDINATOR, ward.address, params.bond)
        ward.post_bond(COORDINATOR, self.study)
        for site in self.keys:
            ward.admit_site(SPONSOR, self.study, site, site, CAP)
        ward.open_study(SPONSOR, self.study)
        self.facts = ward.facts(self.study)
        return self

    @property
    def ward(self) -> WardRound:
        """The contract, whatever its code is."""
        return WardRound(self.chain, self.address)

    @property
    def frame(self) -> RoundFrame:
        facts = self.facts
        return RoundFrame(
            facts.domain, facts.study, self.spec, self.round, COORDINATOR.address, self.base
        )

    def report(self, owner: SiteAddress, **changes: Any) -> bytes:
        stated = None
        if self.spec.privacy is not None:
            spent = float(self.round)
            stated = {"delta": 1e-5, "epsilon": spent / 2, "epsilon_replaced": spent}
        values: dict[str, Any] = {
            "metrics": {"train_loss": 0.5} if stated is None else {},
            "privacy": stated,
            "code": hex_of(self.facts.params.code),
        }
        return super().report(owner, **values | changes)

    def cohort(self) -> list[tuple[Entry, str, str]]:
        """Contributions of all sites but the last, which is left out."""
        return in_order([self.contribution(site) for site in list(self.keys)[:-1]])

    @property
    def left_out(self) -> Dropped:
        """The row of the last site."""
        return Dropped(site=list(self.keys)[-1].lower(), reason="range", evidence="too far")

    def close(self, record: Record, entries: Sequence[Entry] = ()) -> None:
        """Have the coordinator close the open round with a record, whatever is in it.

        Raises:
            ContractReverted: the contract takes no such record.
        """
        if self.facts.params.locked_cohort:
            self.lock(record)
        self.chain.advance(self.facts.params.registration_seconds)
        contract, arguments = self.ward.contract, (self.study, self.round, record.abi())
        call = contract.function("closeRoundRoot", *arguments)
        if self.facts.params.recording is Recording.FULL:
            packed = pack_entries(entries)
            call = contract.function("closeRound", *arguments, self.previous.abi(), packed)
        self.chain.send(COORDINATOR, call, "close")
        self.previous = Closing(record, COORDINATOR.address, self.chain.block().timestamp)

    def lock(self, record: Record) -> None:
        """Have the coordinator lock a record's cohort, of root recording.

        Raises:
            ContractReverted: the contract takes no such cohort.
        """
        self.chain.advance(self.facts.params.registration_seconds)
        cohort = record.contributions, record.count, record.total_weight
        call = self.ward.contract.function("lockCohortRoot", self.study, self.round, cohort)
        self.chain.send(COORDINATOR, call, "lock")

    def play(self) -> Settlement:
        """Settle and close the open round honestly."""
        made = self.cohort()
        settled, _ = self.settle(made, [self.left_out])
        self.close(settled.record, [entry for entry, _, _ in made])
        self.go_on(settled)
        return settled

    def forked(self) -> Played:
        """Copy the study with its chain and store."""
        made = copy(self)
        made.chain, made.objects = forked(self.chain), dict(self.objects)
        return made

    @property
    def store(self) -> KeptInMemory:
        """The study's objects."""
        return KeptInMemory(self.objects)

    @property
    def closing(self) -> Closing:
        """Of the last closed round."""
        return self.previous


def keys() -> dict[SiteAddress, bytes]:
    """The sites' keys by address, ascending, so that the first entry is the first site's."""
    made = {address_of(key_of(place)): key_of(place) for place in range(SITES)}
    return {site: made[site] for site in sorted(made, key=str.lower)}


def first_model() -> Int32Vector:
    return np.arange(PARAMETERS, dtype=np.int32)


def parameters_of(spec: StudySpec, base: Vector) -> StudyParams:
    """The parameters of an honest study."""
    return spec.params(
        sponsor=SPONSOR.address,
        token=Ground.made().token,
        parameter_count=PARAMETERS,
        initial_model=Root(base.root),
        code=CODE,
        parties=PARTIES.digest,
    )


def specification(**tables: Any) -> StudySpec:
    """A study of two rounds with root recording."""
    value: dict[str, Any] = {"study": {"rounds": ROUNDS}, "chain": {"recording": "root"}}
    for name, table in tables.items():
        value[name] = {**value.get(name, {}), **table}
    return study_spec(**value)
