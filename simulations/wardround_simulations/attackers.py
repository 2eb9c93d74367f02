"""Sites that cheat, and sites that are offline.

An attacker is a site whose owner goes round its guard: a Flower mod around the honest ClientApp
changes the guarded answer and signs again with the key from the home. The honest code has no hook
for it. Poisoned rows need none of that: the guard cannot know what a true label is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from eth_account import Account
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict

from wardround.learning.datasets.table import SiteData
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.contribution import Domain, Entry
from wardround.protocol.fixed_point import Int32Vector, vector_bytes, vector_from_bytes
from wardround.protocol.identifiers import Root, SiteAddress
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, parse_manifest
from wardround.protocol.merkle import vector_root
from wardround.protocol.messages import (
    FIELDS,
    VECTOR,
    VECTOR_DTYPE,
    VECTOR_FORMAT,
    Measured,
    TrainReply,
    TrainTask,
)
from wardround.store import Store, open_store
from wardround.transport.flower.messages import ErrorCode
from wardround_client.app.client_app import site_folder
from wardround_client.home import Home
from wardround_client.keystore import open_keystore
from wardround_client.password import read_password_file
from wardround_simulations.scenario import Behaviour
from wardround_simulations.sites import password_file

BEHAVIOUR_FILE = "behaviour.json"


@dataclass(frozen=True)
class Position:
    """An attacker at work: its identity, its task, and what it can read."""

    address: SiteAddress
    key: bytes = field(repr=False)
    domain: Domain
    task: TrainTask
    store: Store
    behaviour: Behaviour

    @classmethod
    def of(cls, home: Home, task: TrainTask, behaviour: Behaviour) -> Position:
        """Take the key from a home, past its guard."""
        settings, network = home.settings(), home.folder.parent.parent
        password = read_password_file(password_file(network, settings.site.name))
        key = open_keystore(home.keystore(settings), password)
        domain = Domain(settings.chain.chain_id, settings.chain.contract)
        address = SiteAddress(Account.from_key(key).address)
        return cls(address, key, domain, task, open_store(network / "store"), behaviour)

    def signed(self, entry: Entry, key: bytes | None = None) -> Entry:
        """Sign an entry with the attacker's own key, or another one."""
        statement = entry.contribution(
            self.task.study, self.task.round, self.task.previous.record.model
        )
        return replace(entry, signature=statement.sign(self.domain, key or self.key))


Answer = tuple[TrainReply, Int32Vector]


def sign_flip(position: Position, answer: Answer) -> Answer:
    """Push the model the other way, times ``factor``."""
    return _with_update(position, answer, -position.behaviour.factor * _wide(answer[1]))


def scaled(position: Position, answer: Answer) -> Answer:
    """Push the model the right way, but ``factor`` times as far."""
    return _with_update(position, answer, position.behaviour.factor * _wide(answer[1]))


def copied_update(position: Position, answer: Answer) -> Answer:
    """Send another site's update of the round before as one's own; honest in the first round."""
    manifest = position.task.previous.record.manifest
    if position.task.round == 1:
        return answer
    data = position.store.get(cid_from_sha256(manifest), MANIFEST_MAX_BYTES)
    own = position.address.lower()
    victims = [row for row in parse_manifest(data).contributions if row.site != own]
    if not victims:
        return answer
    count = position.task.params.parameter_count
    update = vector_from_bytes(position.store.get(victims[0].update.cid), count)
    return _with_update(position, answer, _wide(update))


def inflated_weight(position: Position, answer: Answer) -> Answer:
    """Claim ``factor`` times the examples."""
    delivery, update = answer
    entry = replace(delivery.entry, weight=delivery.entry.weight * position.behaviour.factor)
    return replace(delivery, entry=position.signed(entry)), update


def forged_signature(position: Position, answer: Answer) -> Answer:
    """Sign with a key that is not the site's."""
    delivery, update = answer
    return replace(delivery, entry=position.signed(delivery.entry, os.urandom(32))), update


ATTACKS: dict[str, Callable[[Position, Answer], Answer]] = {
    "sign_flip": sign_flip,
    "scaled": scaled,
    "copied_update": copied_update,
    "inflated_weight": inflated_weight,
    "forged_signature": forged_signature,
}


def misbehave(
    message: Message, context: Context, call_next: Callable[[Message, Context], Message]
) -> Message:
    """Flower mod: let a site follow its behaviour file; without one, be honest."""
    home = Home(site_folder(context))
    behaviour = _behaviour(home.folder)
    fields = message.content.config_records.get(FIELDS)
    if behaviour is None or fields is None:
        return call_next(message, context)
    task = TrainTask.parse(dict(fields))
    # A model is measured when the round after it is open.
    measured = message.metadata.message_type == "evaluate"
    if task.round - measured in behaviour.absent:
        error = Error(ErrorCode.NODE_UNAVAILABLE, "absent, as in the scenario")
        return Message(error, reply_to=message)
    reply = call_next(message, context)
    if message.metadata.message_type != "train" or reply.has_error():
        return reply
    if behaviour.attack == "nan":
        count = task.params.parameter_count
        reply.content[VECTOR] = _record(np.full(count, np.nan, np.float32), "<f4")
    elif behaviour.attack in ATTACKS:
        answer = _read(reply, task.params.parameter_count)
        position = Position.of(home, task, behaviour)
        delivery, update = ATTACKS[behaviour.attack](position, answer)
        _, beside = Measured.part(reply.content.config_records[FIELDS])
        fields = ConfigRecord(delivery.fields() | beside)
        reply.content = RecordDict({FIELDS: fields, VECTOR: _record(update, VECTOR_DTYPE)})
    return reply


def _read(reply: Message, parameter_count: int) -> Answer:
    contribution, _ = Measured.part(reply.content.config_records[FIELDS])
    delivery = TrainReply.parse(contribution)
    array = reply.content.array_records[VECTOR][VECTOR]
    return delivery, vector_from_bytes(array.data, parameter_count)


def _with_update(
    position: Position, answer: Answer, wide: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Answer:
    update = np.clip(wide, -(2**31), 2**31 - 1).astype(np.int32)
    delivery, _ = answer
    root: Root = vector_root(vector_bytes(update))
    entry = position.signed(replace(delivery.entry, update=root))
    return replace(delivery, entry=entry), update


def _wide(update: Int32Vector) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return update.astype(np.int64)


def _record(vector: np.ndarray[tuple[int], np.dtype[np.generic]], dtype: str) -> ArrayRecord:
    data = vector.tobytes()
    return ArrayRecord(
        {VECTOR: Array(dtype=dtype, shape=vector.shape, stype=VECTOR_FORMAT, data=data)}
    )


def write_behaviour(home: Home, behaviour: Behaviour) -> None:
    """Let a site misbehave."""
    (home.folder / BEHAVIOUR_FILE).write_text(behaviour.model_dump_json(), encoding="utf-8")


def poisoned(site: SiteData, behaviour: Behaviour | None, classes: int) -> SiteData:
    """The rows of a site: those that it was given, or with every label turned."""
    if behaviour is None or behaviour.attack != "label_flip":
        return site
    return replace(site, train=replace(site.train, labels=classes - 1 - site.train.labels))


@lru_cache(maxsize=1024)
def _behaviour(folder: Path) -> Behaviour | None:
    path = folder / BEHAVIOUR_FILE
    if not path.exists():
        return None
    return Behaviour.model_validate_json(path.read_text(encoding="utf-8"))
