"""A hospital's trainers: what its machine and its policy make of the sandbox."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from wardround.host.sandbox.machine import Offer, offered
from wardround.host.sandbox.readable import readable_by_python
from wardround.host.sandbox.sandbox import Sandbox, within
from wardround.protocol.errors import SpecificationError
from wardround_client.errors import home_unusable
from wardround_client.home import Home
from wardround_client.settings import PolicyTable
from wardround_client.trainer.base import PredictJob, Trainer, TrainJob, TrainResult
from wardround_client.trainer.sandboxed import SandboxedTrainer, Tell

#: What the trainer imports of us.
_PACKAGES = ("wardround", "wardround_client")
_GIB = 1 << 30
TRAINING, MEASURING = "the trainer", "the measuring process"


def sandbox_of(home: Home, policy: PolicyTable, offer: Offer | None = None) -> Sandbox:
    """Plan the sandbox in which a study's code runs.

    Args:
        home: nothing of it is shown to that code.
        offer: of this machine; None finds it out.
    Raises:
        SpecificationError: the machine offers too little and the policy does not accept that; the
            home, the key or a table is in a folder that Python needs, be it by a link.
    """
    found = offered() if offer is None else offer
    is_open = policy.sandbox == "none"
    if not is_open and not found.is_enough:
        reason = (
            f"this machine offers no sandbox for a study's code ({found.words()}): install "
            'bubblewrap and libseccomp, use a kernel with Landlock, or accept it with "none"'
        )
        raise SpecificationError(str(home.settings_file), reason, key="policy.sandbox")
    readable = readable_by_python(_PACKAGES)
    if not is_open and (shown := within(readable, home.private_paths())):
        where = shown[0].resolve()
        raise home_unusable(home.folder, f"a study's code could read {where}: move it elsewhere")
    return Sandbox(found, readable, policy.trainer_memory_gib * _GIB, is_open)


def sandbox_words(policy: PolicyTable, offer: Offer | None = None) -> str:
    """Name the walls between a study's code and this machine, for ``status`` and ``approve``."""
    if policy.sandbox == "none":
        return 'none, by [policy] sandbox = "none": a study\'s code may do all that this user may'
    found = offered() if offer is None else offer
    return found.words() if found.is_enough else f"too little to train: {found.words()}"


@dataclass
class HospitalTrainer:
    """The process that trains and the one that measures, which never sees a label.

    Attributes:
        training: runs.
        measure: starts the other, when the first model is measured: most sites measure few.
    """

    training: Trainer
    measure: Callable[[], Trainer]
    _measuring: Trainer | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def train(self, job: TrainJob) -> TrainResult:
        """See `Trainer.train`."""
        return self.training.train(job)

    def predict(self, job: PredictJob) -> npt.NDArray[np.float64]:
        """See `Trainer.predict`."""
        with self._turn:
            if self._measuring is None:
                self._measuring = self.measure()
        return self._measuring.predict(job)

    def close(self) -> None:
        """End both processes."""
        self.training.close()
        if self._measuring is not None:
            self._measuring.close()


def start_trainer(home: Home, policy: PolicyTable, tell: Tell) -> HospitalTrainer:
    """Start the process that trains; jobs wait until it is ready.

    Args:
        tell: adds a sentence to the site's event log.
    Raises:
        SpecificationError: as `sandbox_of`.
    """
    sandbox = sandbox_of(home, policy)
    return HospitalTrainer(
        SandboxedTrainer(TRAINING, sandbox, tell),
        lambda: SandboxedTrainer(MEASURING, sandbox, tell),
    )
