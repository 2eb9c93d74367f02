"""The courier: a site's Flower ClientApp, the same at a hospital and in a simulation.

It carries a coordinator's message to the site's guard, and the guard's answer back. It is given no
row.

A SuperNode's configuration names the site's home. A simulation, whose nodes have a number only,
names the network's folder in the run's configuration, and the home is the one with that number.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    RecordDict,
)
from flwr.clientapp import ClientApp

from wardround.protocol.errors import (
    Malformed,
    Retryable,
    ScenarioError,
    StudyMismatch,
    WardroundError,
)
from wardround.protocol.fixed_point import Int32Vector, vector_bytes, vector_from_bytes
from wardround.protocol.identifiers import address_of
from wardround.protocol.messages import (
    FIELDS,
    VECTOR,
    VECTOR_DTYPE,
    VECTOR_FORMAT,
    Introduction,
    TrainTask,
)
from wardround.transport.flower.messages import ErrorCode
from wardround_client.errors import Refusal, Withheld
from wardround_client.guard.client import Guarded, guard_of
from wardround_client.home import Home

app = ClientApp()

#: Of the node's configuration: a site's home. Of the run's: a simulated network's folder.
SITE_KEY, NETWORK_KEY = "site", "network"


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Answer with the name and address of the site at this node."""
    with _words_stay():
        found = _guard(context).identify()
        introduction = Introduction(address_of(found.site), found.name)
    return Message(RecordDict({FIELDS: ConfigRecord(introduction.fields())}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Let the site train from the base model, and answer with the signed update.

    Where the task asks for it, the answer has beside it what the site measures of the base model.
    """
    with _words_stay():
        (task, base), guard = _assignment(message), _guard(context)
        measured = _measures(guard, task, base) if task.measure else {}
        try:
            reply, update = guard.train(task, base)
        except WardroundError as error:
            if not isinstance(error, Retryable):
                raise
            # As if this node had been offline: guard, table or chain come back, so ask again.
            print(f"{error} The coordinator will ask again.", file=sys.stderr, flush=True)
            return Message(Error(ErrorCode.NODE_UNAVAILABLE, _name(error)), reply_to=message)
    fields = ConfigRecord(reply.fields() | measured)
    content = RecordDict({FIELDS: fields, VECTOR: ArrayRecord({VECTOR: _array(update)})})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Let the site measure a model on its test rows, apart from training: a study's last one."""
    with _words_stay():
        measured = _guard(context).measure(*_assignment(message))
    return Message(RecordDict({FIELDS: ConfigRecord(measured.fields())}), reply_to=message)


def _measures(guard: Guarded, task: TrainTask, base: Int32Vector) -> dict[str, Any]:
    """Measure the base model; a site that cannot, or does not want to, trains all the same."""
    try:
        return guard.measure(task, base).fields()
    except Exception as error:  # noqa: BLE001  (a train task's answer does not depend on it)
        _print(error)
        return {}


def _guard(context: Context) -> Guarded:
    return guard_of(Home(site_folder(context)))


def site_folder(context: Context) -> Path:
    """Find the home of a node's site."""
    if SITE_KEY in context.node_config:
        return Path(str(context.node_config[SITE_KEY]))
    network = str(context.run_config.get(NETWORK_KEY, ""))
    if not network:
        raise ScenarioError("flwr run", "no network is named: use `wardround simulate` to make one")
    folders = sorted((Path(network) / "sites").iterdir())
    partition = int(context.node_config["partition-id"])
    if not 0 <= partition < len(folders):
        raise ScenarioError(network, f"it has {len(folders)} sites, and none for node {partition}")
    return folders[partition]


@contextmanager
def _words_stay() -> Iterator[None]:
    """Let errors leave the site by their names alone.

    Flower sends an error's words to the coordinator, who publishes why it dropped a site.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001  (an entry point; any library's words may quote rows)
        name = _name(error)
        _print(error)
    else:
        return
    # Outside of the handler, so that the first error is not kept with this one.
    raise Withheld(name)


def _print(error: Exception) -> None:
    name = _name(error)
    print(f"{name}: {str(error).removeprefix(f'{name}: ')}", file=sys.stderr, flush=True)


def _name(error: Exception) -> str:
    return error.name if isinstance(error, Refusal) else type(error).__name__


def _assignment(message: Message) -> tuple[TrainTask, Int32Vector]:
    content = message.content
    if set(content) != {FIELDS, VECTOR}:
        raise Malformed("message", f"records {sorted(content)} where fields and vector belong")
    task = TrainTask.parse(dict(content.config_records[FIELDS]))
    array = content.array_records[VECTOR][VECTOR]
    if array.dtype != VECTOR_DTYPE or array.stype != VECTOR_FORMAT:
        raise StudyMismatch("vector", VECTOR_DTYPE, array.dtype)
    return task, vector_from_bytes(array.data, task.params.parameter_count)


def _array(vector: Int32Vector) -> Array:
    data = vector_bytes(np.ascontiguousarray(vector))
    return Array(dtype=VECTOR_DTYPE, shape=vector.shape, stype=VECTOR_FORMAT, data=data)
