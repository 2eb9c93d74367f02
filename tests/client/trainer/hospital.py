"""A guard that lets a study's hostile code train, as whatever user runs this.

``python -m tests.client.trainer.hospital WALLS``: WALLS is ``namespaces`` or ``none``, then with
Landlock and seccomp alone. Prints what happened, as JSON.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.client.trainer.jobs import STUDY, own_job, predict_job, train_job
from wardround.host.sandbox.machine import offered
from wardround_client.errors import Refusal
from wardround_client.home import Home
from wardround_client.settings import PolicyTable
from wardround_client.trainer.base import TrainJob
from wardround_client.trainer.local import LocalTrainer
from wardround_client.trainer.sandboxed import SandboxedTrainer
from wardround_client.trainer.start import sandbox_of

JOB_SECONDS = 6.0
HOSTILE = Path(__file__).parents[2] / "host" / "sandbox" / "hostile.py"
SECRET = "a-row-of-another-study"

EVERYTHING = """
from .hostile import succeeded
def build(home, guard, shown):
    raise RuntimeError(repr(succeeded(home, guard, shown)))
"""
ENDLESS = """
def build():
    while True:
        pass
"""
ABORTS = """
import os
def build():
    os.abort()
"""
THREADS = """
import threading, time
threading.stack_size(65536)
def build():
    while True:
        threading.Thread(target=time.sleep, args=(1e6,)).start()
"""
#: As many as stay below the limit of one job.
HOARDS = """
import threading, time
threading.stack_size(65536)
def build():
    held = 0
    while held < 490:
        try:
            threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()
            held += 1
        except RuntimeError:
            time.sleep(0.01)
    time.sleep(1e6)
"""
MEMORY = """
def build():
    return bytearray(10 << 30)
"""
# Each byte of the answer is the child's to write: it may say anything, of any length.
LIES = """
import os
def build(answer):
    os.write(3, bytes.fromhex(answer))
    os._exit(0)
"""
HOLDS = f"""
import time
def build():
    kept = "{SECRET}"
    time.sleep(1e6)
"""
READS = """
import ctypes, os
def build(first, last):
    libc, read = ctypes.CDLL(None), []
    for process in range(first, last):
        try:
            open(f"/proc/{process}/mem", "rb").close()
            read.append(process)
        except OSError:
            pass
        if libc.ptrace(0x4206, process, 0, 0) == 0:
            read.append(process)
        buffer = (ctypes.c_size_t * 2)(0, 0)
        if process != os.getpid() and libc.process_vm_readv(process, buffer, 1, buffer, 1, 0) >= 0:
            read.append(process)
    raise RuntimeError(repr(read))
"""


def answer(document: bytes, rest: bytes = b"") -> str:
    return (len(document).to_bytes(4, "big") + document + rest).hex()


LIES_TOLD = {
    "too long": "ffffffff",
    "no document": answer(b"{"),
    "not a number": answer(b'{"mean_loss":1e999}', bytes(24)),
    "negative": answer(b'{"mean_loss":-1}', bytes(24)),
    "too short": answer(b'{"mean_loss":1}', bytes(20)),
    "another form": answer(b'{"mean_loss":1,"row":[1,2,3]}', bytes(24)),
    "of a measurement": answer(b'{"classes":2}', bytes(480)),
    "nothing": "",
}


class Hospital:
    def __init__(self, home: Path, trainer: SandboxedTrainer, told: list[str]) -> None:
        self.home, self.trainer, self.told = home, trainer, told

    def is_honest(self) -> bool:
        """Whether honest jobs give, bit for bit, what they give in this process."""
        job, asked, local = train_job(), predict_job(), LocalTrainer()
        trained = np.array_equal(self.trainer.train(job).update, local.train(job).update)
        return trained and np.array_equal(self.trainer.predict(asked), local.predict(asked))

    def refused(self, job: TrainJob) -> str:
        """The name of a job's refusal, and what the log says of it."""
        try:
            self.trainer.train(job)
        except Refusal as error:
            return f"{error.name}: {self.told[-1]}"
        return "trained"

    def everything(self) -> list[str]:
        files = {"model.py": EVERYTHING.encode(), "hostile.py": HOSTILE.read_bytes()}
        shown = json.__file__
        said = self.refused(own_job(files, home=str(self.home), guard=os.getpid(), shown=shown))
        return self._said(said)

    def sibling(self) -> list[str]:
        """What one study's code reads of the processes around it, while another's runs."""
        other = threading.Thread(target=self.refused, args=(own_job(HOLDS),))
        other.start()
        time.sleep(2)
        last = max(int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit())
        first = 1 if last < 100_000 else last - 2000
        said = self.refused(own_job(READS, first=first, last=last + 50))
        other.join()
        return self._said(said)

    def beside_hoarders(self) -> bool:
        """Whether an honest job with threads of its own goes on beside two that hoard them."""
        others = [threading.Thread(target=self.refused, args=(own_job(HOARDS),)) for _ in range(2)]
        for one in others:
            one.start()
        time.sleep(3)  # until both have what they can get; nothing tells of that outside
        job = train_job(STUDY.replace("batch_size = 8", "batch_size = 8\nthreads = 4"))
        try:
            return np.array_equal(self.trainer.train(job).update, LocalTrainer().train(job).update)
        except Refusal:
            return False
        finally:
            for one in others:
                one.join()

    def restarted(self) -> str:
        """How a job ends whose warm process is killed."""
        ended: list[str] = []
        job = threading.Thread(target=lambda: ended.append(self.refused(own_job(ENDLESS))))
        job.start()
        time.sleep(1)
        assert self.trainer._warm is not None
        os.kill(self.trainer._warm.process.pid, signal.SIGKILL)
        job.join()
        return ended[0]

    @staticmethod
    def _said(words: str) -> list[str]:
        found = re.search(r"RuntimeError: (\[[^\]]*\])", words)
        return [words] if found is None else re.findall(r"[^\[\], ']+", found[1])


def main(walls: str) -> None:
    offer = offered()
    if walls == "none":
        offer = replace(offer, no_namespaces="not asked for")
    told: list[str] = []
    found: dict[str, Any] = {"walls": offer.words(), "user": os.getuid()}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        sandbox = sandbox_of(Home(home), PolicyTable(trainer_memory_gib=4), offer)
        for name in ("site.toml", "keystore.json", "guard.log"):
            (home / name).write_text("secret")
        trainer = SandboxedTrainer("the trainer", sandbox, told.append, JOB_SECONDS)
        hospital = Hospital(home, trainer, told)
        steps: dict[str, Callable[[], Any]] = {
            "honest before": hospital.is_honest,
            "succeeded": hospital.everything,
            "sibling": hospital.sibling,
            "endless": lambda: hospital.refused(own_job(ENDLESS)),
            "aborts": lambda: hospital.refused(own_job(ABORTS)),
            "threads": lambda: hospital.refused(own_job(THREADS)),
            "beside hoarders": hospital.beside_hoarders,
            "memory": lambda: hospital.refused(own_job(MEMORY)),
            "lies": lambda: {
                name: hospital.refused(own_job(LIES, answer=lie)) for name, lie in LIES_TOLD.items()
            },
            "restarted": hospital.restarted,
            "honest after": hospital.is_honest,
        }
        try:
            for name, step in steps.items():
                started = time.monotonic()
                found[name] = step()
                print(name, f"{time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
        finally:
            trainer.close()
        found["home"] = sorted(one.name for one in home.iterdir())
    found["told"] = told
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
