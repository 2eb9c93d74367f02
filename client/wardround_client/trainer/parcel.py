"""Jobs and their results as bytes: a document, and behind it the vectors that it measures.

What comes from the guard is believed; what comes from a process that ran a study's code is not.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from wardround.learning.privacy.accountant import PrivacyAccount
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.documents import Form, parse_document
from wardround.protocol.errors import Malformed
from wardround.protocol.fixed_point import vector_bytes, vector_from_bytes
from wardround_client.guard.wire import Wire
from wardround_client.trainer.base import NoiseTerms, PredictJob, TrainJob, TrainResult

#: Of all probabilities that are received: 33 million.
PREDICTED_MAX_BYTES = 1 << 28
WORDS_MAX = 600
#: How far the sum of a row's probabilities may be from 1.
_SUM_TOLERANCE = 1e-6

_Length = Annotated[int, Field(ge=0)]


class _Private(Form):
    secret: str
    account: _Length
    context: str
    #: Whether it follows whose each row is.
    persons: bool


class _JobHeader(Form):
    """A job: lengths in bytes of what follows, and what is no vector."""

    job: Literal["train", "predict"]
    specification: _Length
    #: The study's own, in the order of `lengths`.
    names: list[str]
    lengths: list[_Length]
    #: P.
    parameters: _Length
    #: Of the features.
    shape: list[_Length]
    #: Of a measurement.
    classes: _Length = 0
    #: As text: it has 63 bits, and a JSON number 53.
    seed: str = "0"
    private: _Private | None = None


class _Failed(Form):
    failed: Annotated[str, Field(max_length=WORDS_MAX)]


class _Trained(Form):
    mean_loss: Annotated[FiniteFloat, Field(ge=0)] | None


class _Predicted(Form):
    classes: int


_ANSWER: TypeAdapter[_Failed | _Trained | _Predicted] = TypeAdapter(_Failed | _Trained | _Predicted)


class JobFailed(Exception):
    """The process of a job has no result, and gives this reason; not to be believed."""


def send_job(wire: Wire, job: TrainJob | PredictJob) -> None:
    """Send a job to the process that runs it.

    Raises:
        OSError: it has gone, or the deadline is over.
    """
    document: dict[str, Any] = {
        "job": "predict",
        "specification": len(job.specification),
        "names": list(job.files),
        "lengths": [len(data) for data in job.files.values()],
        "shape": list(job.features.shape),
    }
    parts: list[bytes | memoryview] = [job.specification, *job.files.values()]
    vector = job.base if isinstance(job, TrainJob) else job.model
    document["parameters"] = vector.size
    parts += [vector_bytes(vector), _memory(job.features)]
    if isinstance(job, PredictJob):
        document["classes"] = job.classes
    else:
        document |= {"job": "train", "seed": str(job.seed)}
        parts.append(_memory(job.labels))
        if job.private is not None:
            account = canonical_bytes(job.private.account.model_dump(mode="json"))
            secret, context = job.private.secret.hex(), job.private.context.hex()
            persons = job.private.persons
            document["private"] = {
                "secret": secret,
                "account": len(account),
                "context": context,
                "persons": persons is not None,
            }
            parts += [account] if persons is None else [account, _memory(persons)]
    wire.send(document, parts)


def receive_job(wire: Wire) -> TrainJob | PredictJob:
    """Receive a job from the guard.

    Raises:
        Malformed: it is none.
        OSError: the guard has gone, or the deadline is over.
    """
    asked = _JobHeader.model_validate(wire.receive())
    specification = wire.receive_bytes(asked.specification)
    contents = [wire.receive_bytes(length) for length in asked.lengths]
    files = dict(zip(asked.names, contents, strict=True))
    vector = vector_from_bytes(wire.receive_memory(4 * asked.parameters), asked.parameters)
    features = np.frombuffer(wire.receive_memory(4 * math.prod(asked.shape)), np.float32)
    features = features.reshape(asked.shape)
    if asked.job == "predict":
        return PredictJob(specification, vector, features, asked.classes, files)
    labels = np.frombuffer(wire.receive_memory(8 * asked.shape[0]), np.int64)
    private = None
    if asked.private is not None:
        data, persons = wire.receive_bytes(asked.private.account), None
        if asked.private.persons:
            persons = np.frombuffer(wire.receive_memory(8 * asked.shape[0]), np.int64)
        private = NoiseTerms(
            bytes.fromhex(asked.private.secret),
            parse_document(PrivacyAccount, data, "account"),
            bytes.fromhex(asked.private.context),
            persons,
        )
    return TrainJob(specification, vector, features, labels, int(asked.seed), files, private)


def send_trained(wire: Wire, result: TrainResult) -> None:
    """Send what came of a training."""
    wire.send({"mean_loss": result.mean_loss}, [vector_bytes(result.update)])


def send_predicted(wire: Wire, probabilities: npt.NDArray[np.float64]) -> None:
    """Send probabilities."""
    wire.send({"classes": probabilities.shape[1]}, [_memory(probabilities)])


def send_failed(wire: Wire, words: str) -> None:
    """Send the reason why there is no result."""
    wire.send({"failed": words[:WORDS_MAX]})


def receive_trained(wire: Wire, job: TrainJob) -> TrainResult:
    """Receive what came of a training, and nothing that the job does not ask for.

    Raises:
        JobFailed: in its words.
        Malformed: it is no result of this job.
        OSError: the process has gone, or the deadline is over.
    """
    answer = _answer(wire)
    if not isinstance(answer, _Trained):
        raise Malformed("trainer's answer", "it is not that of a training")
    if job.private is not None and answer.mean_loss is not None:
        raise Malformed("trainer's answer", "a private training tells no loss")
    count = job.base.size
    return TrainResult(vector_from_bytes(wire.receive_memory(4 * count), count), answer.mean_loss)


def receive_predicted(wire: Wire, job: PredictJob) -> npt.NDArray[np.float64]:
    """Receive probabilities: of the job's rows and the study's classes, each row a distribution.

    Raises:
        JobFailed: in its words.
        Malformed: it is no result of this job.
        OSError: the process has gone, or the deadline is over.
    """
    answer = _answer(wire)
    if not isinstance(answer, _Predicted):
        raise Malformed("trainer's answer", "it is not that of a measurement")
    # The code could tell a row by how many classes it answers with.
    if answer.classes != job.classes:
        raise Malformed("trainer's answer", f"it is not of the study's {job.classes} classes")
    size = 8 * len(job.features) * job.classes
    if size > PREDICTED_MAX_BYTES:
        raise Malformed("trainer's answer", f"{size} bytes exceed {PREDICTED_MAX_BYTES}")
    found = np.frombuffer(wire.receive_memory(size), np.float64).reshape(-1, job.classes)
    # NaN compares with nothing, so it fails the first line too.
    if not ((found >= 0) & (found <= 1)).all():
        raise Malformed("trainer's answer", "a probability is not in 0 .. 1")
    if np.abs(found.sum(axis=1) - 1).max() > _SUM_TOLERANCE:
        raise Malformed("trainer's answer", "the probabilities of a row do not add up to 1")
    return found


def _answer(wire: Wire) -> _Trained | _Predicted:
    try:
        answer = _ANSWER.validate_python(wire.receive())
    except ValidationError as error:
        raise Malformed("trainer's answer", "it has another form") from error
    if isinstance(answer, _Failed):
        raise JobFailed(answer.failed)
    return answer


def _memory(array: npt.NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).data.cast("B")
