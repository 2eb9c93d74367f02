"""A site's signed answers, kept so that a site that is asked again need not train again.

A coordinator that dies in the middle of a round asks again when it is back, and so does the standby
that takes over. The guard would sign no other answer anyway; keeping it spares the hospital the
training, and answers the same even where training would not repeat to the last bit.

A round that is overturned opens again, and then the bytes of what the site has registered for it
may be demanded. So an answer stays until its round is final.
"""

from __future__ import annotations

from contextlib import suppress
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
from wardround.protocol.identifiers import Root, hex_of
from wardround.protocol.merkle import vector_root
from wardround.protocol.messages import TrainReply, TrainTask
from wardround.protocol.record import StudyParams

_UPDATE = "update"
#: At most so many answers of a study for each of its rounds: some open again on another base.
_ANSWERS_A_ROUND = 2


@dataclass(frozen=True)
class KeptAnswers:
    """One answer for each study, round and base, in a folder that only the site can enter.

    Everything in it has left the site, or was about to.
    """

    folder: Path

    def keep(self, task: TrainTask, delivery: TrainReply, update: Int32Vector) -> None:
        """Keep an answer; of very many to a study, the oldest goes.

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
        kept = sorted(self._files(hex_of(task.study)), key=lambda one: one.stat().st_mtime_ns)
        for old in kept[: -_ANSWERS_A_ROUND * task.params.rounds]:
            old.unlink(missing_ok=True)

    def find(self, task: TrainTask) -> tuple[TrainReply, Int32Vector] | None:
        """Find the answer to a question that was asked before.

        Returns:
            The delivery, and the update, int32, shape (P,); None when it was not kept, or what is
            on disk is not what was kept.
        """
        found = self._read(self._path(task), task.params, task.round)
        return found[1:] if found is not None and found[0] == _asked(task) else None

    def find_update(self, params: StudyParams, number: int, update: Root) -> Int32Vector | None:
        """Find an update that was answered with in a round, on whatever base.

        Args:
            params: of the study.
            number: the round.
            update: its Merkle root.
        Returns:
            int32, shape (P,); None when none such was kept.
        """
        for path in self._files(hex_of(params.study_id), str(number)):
            found = self._read(path, params, number)
            if found is not None and found[1].entry.update == update:
                return found[2]
        return None

    def studies(self) -> set[str]:
        """Read them off the files' names."""
        return {path.name.split("-")[0] for path in self._files("0x*")}

    def erase(self, study: str, through: int) -> None:
        """Remove the answers to a study's rounds up to one, where the disk lets it."""
        for path in self._files(study):
            if int(path.name.split("-")[1]) <= through:
                with suppress(OSError):
                    path.unlink()

    def _read(
        self, path: Path, params: StudyParams, number: int
    ) -> tuple[str, TrainReply, Int32Vector] | None:
        try:
            with safe_open(path, framework="numpy") as file:
                told = dict(file.metadata() or {})
                if told.pop("seal", "") != hex_of(canonical_digest(told)):
                    return None
                if file.get_slice(_UPDATE).get_shape() != [params.parameter_count]:
                    return None
                update: Int32Vector = file.get_tensor(_UPDATE)
            entry, report = Entry.unpack(bytes.fromhex(told["entry"][2:])), told["report"].encode()
        except (SafetensorError, ProtocolError, OSError, ValueError, KeyError):
            return None
        if update.dtype != np.int32 or vector_root(update.data) != entry.update:
            return None
        if sha256_digest(report) != entry.report:
            return None
        return told.get("asked", ""), TrainReply(params.study_id, number, entry, report), update

    def _files(self, study: str, number: str = "*") -> list[Path]:
        return sorted(self.folder.glob(f"{study}-{number}-*.safetensors"))

    def _path(self, task: TrainTask) -> Path:
        name = f"{hex_of(task.study)}-{task.round}-{_asked(task)[2:]}.safetensors"
        return self.folder / name


def _asked(task: TrainTask) -> str:
    """The digest of the question: study, round, and the closing that holds the base model."""
    question = [hex_of(task.study), task.round, hex_of(task.previous.encode())]
    return hex_of(canonical_digest(question))
