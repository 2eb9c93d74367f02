"""A site's last signed answer, kept so that a site that is asked again need not train again.

A coordinator that dies in the middle of a round asks again when it is back, and so does the standby
that takes over. The guard would sign no other answer anyway; keeping it spares the hospital the
training, and answers the same even where training would not repeat to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from wardround.host.durable import write_durably
from wardround.protocol.canonical import canonical_digest, sha256_digest
from wardround.protocol.contribution import Entry
from wardround.protocol.errors import ProtocolError
from wardround.protocol.fixed_point import Int32Vector
from wardround.protocol.identifiers import hex_of
from wardround.protocol.merkle import vector_root
from wardround.protocol.messages import TrainReply, TrainTask

_UPDATE = "update"


@dataclass(frozen=True)
class KeptAnswers:
    """One answer for each study, in a folder that only the site can enter.

    Everything in it has left the site, or was about to.
    """

    folder: Path

    def keep(self, task: TrainTask, delivery: TrainReply, update: Int32Vector) -> None:
        """Keep an answer instead of the one before.

        A crash may lose it, never leave half of it.

        Args:
            task: what it answers.
            delivery: signed.
            update: int32, shape (P,).
        Raises:
            OSError: the disk takes it not.
        """
        self.folder.mkdir(mode=0o700, exist_ok=True)
        told = {
            "asked": _asked(task),
            "entry": hex_of(delivery.entry.pack()),
            "report": delivery.report.decode(),
        }
        told["seal"] = hex_of(canonical_digest(told))
        data = save({_UPDATE: np.ascontiguousarray(update)}, metadata=told)
        write_durably(self._path(task), data)

    def find(self, task: TrainTask) -> tuple[TrainReply, Int32Vector] | None:
        """Find the answer to a question that was asked before.

        Returns:
            The delivery, and the update, int32, shape (P,); None when another question was the last
            one, or what is on disk is not what was kept.
        """
        count = task.params.parameter_count
        try:
            with safe_open(self._path(task), framework="numpy") as file:
                told = dict(file.metadata() or {})
                if told.pop("seal", "") != hex_of(canonical_digest(told)):
                    return None
                shape = file.get_slice(_UPDATE).get_shape()
                if told.get("asked") != _asked(task) or shape != [count]:
                    return None
                update: Int32Vector = file.get_tensor(_UPDATE)
            entry, report = Entry.unpack(bytes.fromhex(told["entry"][2:])), told["report"].encode()
        except (SafetensorError, ProtocolError, OSError, ValueError, KeyError):
            return None
        if update.dtype != np.int32 or vector_root(update.data) != entry.update:
            return None
        if sha256_digest(report) != entry.report:
            return None
        return TrainReply(task.study, task.round, entry, report), update

    def _path(self, task: TrainTask) -> Path:
        return self.folder / f"{hex_of(task.study)}.safetensors"


def _asked(task: TrainTask) -> str:
    """The digest of the question: study, round, and the closing that holds the base model."""
    question = [hex_of(task.study), task.round, hex_of(task.previous.encode())]
    return hex_of(canonical_digest(question))
