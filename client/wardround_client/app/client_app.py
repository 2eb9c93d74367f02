"""The Flower ClientApp of a site: the same at a hospital and in a simulation.

A SuperNode's configuration names the site's home. A simulation, whose nodes have a number only,
names the network's folder in the run's configuration, and the home is the one with that number.
The key is in the guard (`wardround_client.guard`), never in this module.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MetricRecord,
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
from wardround.transport.code import application_digest
from wardround.transport.flower.messages import ErrorCode
from wardround_client.app.answers import KeptAnswers
from wardround_client.app.site import Site
from wardround_client.errors import Refusal, Withheld
from wardround_client.guard.approvals import Approvals
from wardround_client.guard.client import guard_of
from wardround_client.guard.requests import Identified
from wardround_client.guard.tables import load_home_data
from wardround_client.home import Home

app = ClientApp()

#: Of the node's configuration: a site's home. Of the run's: a simulated network's folder.
SITE_KEY, NETWORK_KEY = "site", "network"
_SITES_KEPT = 1024


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Answer with the name and address of the site at this node."""
    with _words_stay():
        found = guard_of(Home(site_folder(context))).ask(Identified, {"ask": "identity"})
        introduction = Introduction(address_of(found.site), found.name)
    return Message(RecordDict({FIELDS: ConfigRecord(introduction.fields())}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train from the base model and answer with the signed update."""
    with _words_stay():
        task, base = _assignment(message)
        try:
            delivery, update = open_home(str(site_folder(context))).contribute(task, base)
        except WardroundError as error:
            if not isinstance(error, Retryable):
                raise
            # As if this node had been offline: guard, table or chain come back, so ask again.
            print(f"{error} The coordinator will ask again.", file=sys.stderr, flush=True)
            return Message(Error(ErrorCode.NODE_UNAVAILABLE, _name(error)), reply_to=message)
    content = RecordDict(
        {FIELDS: ConfigRecord(delivery.fields()), VECTOR: ArrayRecord({VECTOR: _array(update)})}
    )
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Measure a model on the site's test rows; counts and rates leave, rows do not."""
    with _words_stay():
        task, model = _assignment(message)
        measures = open_home(str(site_folder(context))).evaluate(task, model)
    return Message(RecordDict({"metrics": MetricRecord(dict(measures))}), reply_to=message)


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
        print(f"{name}: {str(error).removeprefix(f'{name}: ')}", file=sys.stderr, flush=True)
    else:
        return
    # Outside of the handler, so that the first error is not kept with this one.
    raise Withheld(name)


def _name(error: Exception) -> str:
    return error.name if isinstance(error, Refusal) else type(error).__name__


@lru_cache(maxsize=_SITES_KEPT)
def open_home(folder: str) -> Site:
    """Open a site's home; once a process. Its guard must be running.

    Raises:
        GuardUnreachable: no guard answers.
        SpecificationError: ``site.toml`` cannot be used.
        SourceError: the table does not fit its schema, or cannot be reached.
        DataError: it has no rows, or a prepared one is damaged.
    """
    home = Home(Path(folder))
    guard = guard_of(home)
    found = guard.ask(Identified, {"ask": "identity"})
    data = load_home_data(home.folder, home.settings(), os.environ)
    approvals = Approvals(home.approvals, address_of(found.site))
    return Site(
        name=found.name,
        address=address_of(found.site),
        guard=guard,
        code=application_digest(),
        train=data.train,
        test=data.test,
        clock=time.monotonic,
        answers=KeptAnswers(home.answers),
        files=lambda study: approvals.of(study).spec.files,
    )


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
