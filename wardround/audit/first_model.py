"""Build a study's first model: to start from it, or again, which an audit does on request alone.

Every round is recomputed from the model before it, and the first from ``M_0`` as it is recorded:
the chain names its root. Whether that model follows from the specification is another question,
and for a model of the study's own to ask it runs the study's code.
"""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

from wardround.audit.audit import StudyAudit
from wardround.host.sandbox.machine import offered
from wardround.host.sandbox.readable import readable_by_python
from wardround.host.sandbox.sandbox import Sandbox
from wardround.learning.errors import LearningError
from wardround.learning.trial_apart import try_apart
from wardround.protocol.errors import ReplayFailed
from wardround.protocol.identifiers import hex_of
from wardround.protocol.model import FILES_MAX_BYTES
from wardround.protocol.record import RuleId, StudyParams
from wardround.protocol.settlement import Vector
from wardround.protocol.study import StudySpec

#: What the process imports of us.
_PACKAGES = ("wardround",)
_MEMORY_BYTES = 8 << 30


def declared_first_model(params: StudyParams, spec: StudySpec) -> Vector | None:
    """Build ``M_0`` where that runs no code of the study; None for a model of its own.

    Args:
        params: the study's on chain.
        spec: its specification.
    Returns:
        Its root is not compared with the chain's: another PyTorch may draw other weights.
    Raises:
        LearningError: the model cannot be built.
    """
    if params.rule is RuleId.SUM:
        return Vector.of(np.zeros(params.parameter_count, np.int64))
    if spec.model.is_own:
        return None
    # PyTorch takes seconds to import, and who finds the model in the store needs none of it.
    from wardround.learning.initial import initial_model

    return Vector.of(initial_model(spec).values)


def rebuild_first_model(work: StudyAudit) -> str:
    """Build ``M_0`` again, behind the walls of this machine, and compare it with the chain's.

    That of a study of sums is all zero.

    Returns:
        What was compared and behind which walls, for people.
    Raises:
        ReplayFailed: it is another model.
        StudyMismatch: a file of the study's own is not the pinned one.
        StoreError: one is missing.
        LearningError: the model cannot be built; it is the study's own, and this machine offers no
            sandbox to build it in.
    """
    spec, recorded = work.spec, hex_of(work.facts.params.initial_model)
    if spec.rule.id is RuleId.SUM:
        nothing = declared_first_model(work.facts.params, spec)
        assert nothing is not None
        _compare(hex_of(nothing.root), recorded)
        return f"nothing is counted in it, with root {recorded[:18]}… equal"
    files = {name: work.store.get(cid, FILES_MAX_BYTES) for name, cid in spec.model.cids().items()}
    offer = offered()
    if spec.model.is_own and not offer.is_enough:
        raise LearningError(
            f"this machine offers no sandbox for the study's code ({offer.words()}), so it is not "
            "run: install bubblewrap and libseccomp, use a kernel with Landlock, or audit without "
            "--run-study-code."
        )
    readable = readable_by_python(_PACKAGES)
    sandbox = Sandbox(offer, readable, _MEMORY_BYTES, is_open=not offer.is_enough)
    found = try_apart(spec.with_files(files), sandbox)
    _compare(found.root, recorded)
    _compare(f"{found.parameters} parameters", f"{work.facts.params.parameter_count} parameters")
    walls = f"in a sandbox ({offer.words()})" if offer.is_enough else "without a sandbox"
    return f"built again {walls} by {_pytorch()}, with root {found.root[:18]}… equal"


def _pytorch() -> str:
    """Which one builds here: another may draw other first weights from the same seed."""
    return f"PyTorch {version('torch')}"


def _compare(found: str, recorded: str) -> None:
    if found != recorded:
        reason = f"built again here by {_pytorch()} it is {found}, and the chain has {recorded}"
        raise ReplayFailed(1, "first model", reason)
