"""One dry step: what it lets through, and by which name it refuses the rest."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.learning.networks import own_model
from wardround.learning.errors import LearningError
from wardround.learning.models import build_model, flatten
from wardround.learning.models.state import kept_by
from wardround.learning.trial import try_model
from wardround.protocol.fixed_point import quantize
from wardround.protocol.model import ModelSpec
from wardround.protocol.study import StudySpec

PREAMBLE = """
import random
import numpy as np
import torch
from torch import nn

"""
MODULE = """
class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 1)
        self.begin()

    def begin(self):
        pass

    def before(self, rows):
        return rows

    def forward(self, rows):
        return self.layer(self.before(rows))


def build():
    return Own()
"""


def study(model: ModelSpec, **tables: Any) -> StudySpec:
    return StudySpec.model_validate(
        {
            "study": {"name": "tried", "rounds": 2},
            "model": model,
            "training": {"learning_rate": 0.1, "batch_size": 8, "local_epochs": 1},
            **tables,
        }
    )


def tried(source: str, *, classes: int = 2, shape: tuple[int, ...] = (6,), **tables: Any) -> None:
    model, files = own_model(PREAMBLE + source, classes=classes, row_shape=list(shape))
    try_model(study(model, **tables).with_files(files))


def own(begin: str = "pass", before: str = "return rows", extra: str = "") -> str:
    """A module that keeps something, and what it does with it before its layer."""
    source = MODULE.replace("        pass", f"        {begin}")
    return extra + source.replace(
        "        return rows\n\n    def f", f"        {before}\n\n    def f"
    )


def counting_on(kind: str) -> str:
    """A module that counts its calls in an attribute of a list, or of a number."""
    kept = f"class Kept({kind}):\n    pass\n\n\n"
    return own("self.kept = Kept(); self.kept.n = 0", "self.kept.n += 1; return rows", kept)


def returning(expression: str) -> str:
    return f"\n\ndef build():\n    return {expression}\n"


# ---------------------------------------------------------------- what can be federated

GOOD = {
    "a constant buffer": own(
        "self.register_buffer('mask', torch.ones(6), persistent=False)", "return rows * self.mask"
    ),
    "a constant tensor": own("self.shift = torch.zeros(6)", "return rows + self.shift"),
    "a constant array": own("self.names = {'mean': np.zeros(6)}", "return rows"),
    "dropout": returning("nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 1))"),
    "layer norm": returning("nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 1))"),
    "a flat answer": returning("nn.Sequential(nn.Linear(6, 1), nn.Flatten(0))"),
    "two logits": returning("nn.Linear(6, 2)"),
    "weight norm": returning("nn.utils.parametrizations.weight_norm(nn.Linear(6, 1))"),
    # It computes its plain attribute `weight` anew for each answer.
    "old weight norm": returning("nn.utils.weight_norm(nn.Linear(6, 1))"),
    "a recurrent layer": """
class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.head = nn.LSTM(1, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, rows):
        return self.head(self.cells(rows.unsqueeze(-1))[0][:, -1])


def build():
    return Recurrent()
""",
    "what it saw last, for people": own("self.seen = None", "self.seen = rows; return rows"),
    "a cache made on first use": own(
        "self.scale = None",
        "if self.scale is None: self.scale = torch.ones(6)\n        return rows * self.scale",
    ),
}


@pytest.mark.parametrize("what", GOOD)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_try_model_lets_through(what: str) -> None:
    tried(GOOD[what])


def test_try_model_takes_pictures_and_many_classes() -> None:
    layers = "nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(144, 5)"
    tried(returning(f"nn.Sequential({layers})"), classes=5, shape=(1, 8, 8))


def test_try_model_gives_what_the_study_starts_from() -> None:
    model, files = own_model(PREAMBLE + returning("nn.Linear(6, 1)"))
    spec = study(model).with_files(files)
    pinned, initial = try_model(spec)
    assert pinned.files == spec.files
    assert pinned.model.layout is not None
    assert pinned.digest != spec.digest
    first = quantize(flatten(build_model(pinned.model, files, 0)), 20)
    assert (first == initial.values).all()
    assert try_model(pinned)[0].digest == pinned.digest


def test_try_model_leaves_a_named_models_specification_as_it_is() -> None:
    spec = study(ModelSpec(name="logistic", arguments={"features": 6}))
    before = torch.get_rng_state()
    assert try_model(spec)[0] is spec
    assert torch.equal(torch.get_rng_state(), before)


PRIVACY = {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "delta": 1e-5, "target_epsilon": 0.5}


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_try_model_takes_opacus_layers_where_the_study_is_private() -> None:
    source = GOOD["a recurrent layer"].replace("nn.LSTM", "DPLSTM")
    tried("from opacus.layers import DPLSTM\n" + source, privacy=PRIVACY)


# ---------------------------------------------------------------- what cannot

REMEMBERS = """
def made():
    n = 0
    def count(self):
        nonlocal n
        n += 1
    return count


class Kept:
    pass
"""
STATE = r"keeps state beside its parameters \({}"
BAD = {
    "a frozen network": (
        returning("nn.Linear(6, 1).requires_grad_(False)"),
        r"nothing to train: all its parameters \(weight, bias\) are frozen",
    ),
    "layers in a list": (
        own("self.more = [nn.Linear(6, 6)]", "return self.more[0](rows)"),
        r"not its own \(more\[0\]\.bias, more\[0\]\.weight\).*nn\.ModuleList",
    ),
    "a buffer of running numbers": (
        own(
            "self.register_buffer('mean', torch.zeros(6), persistent=False)",
            "self.mean = 0.9 * self.mean + 0.1 * rows.mean(0).detach(); return rows",
        ),
        STATE.format("mean"),
    ),
    "a number in a list in a table": (
        own("self.kept = {'n': [0]}", "self.kept['n'][0] += 1; return rows"),
        STATE.format(r"kept\['n'\]\[0\]"),
    ),
    "an array that is changed in place": (
        own("self.kept = np.zeros(3)", "self.kept += 1; return rows"),
        STATE.format("kept"),
    ),
    "a count in training alone": (
        own("self.steps = 0", "self.steps += self.training; return rows"),
        STATE.format("steps"),
    ),
    "a layer's state in a plain list": (
        own("self.more = [nn.BatchNorm1d(6, affine=False)]", "return self.more[0](rows)"),
        r"one row|mean",
    ),
    "an object of a class of its own": (
        own("self.kept = Kept()", "self.kept.n += 1; return rows", "class Kept:\n    n = 0\n\n\n"),
        STATE.format(r"kept\.n"),
    ),
    "an object with slots": (
        own(
            "self.kept = Kept()",
            "self.kept.n += 1; return rows",
            "class Kept:\n    __slots__ = ('n',)\n    def __init__(self): self.n = 0\n\n\n",
        ),
        STATE.format(r"kept\.n"),
    ),
    "a global": (
        own(before="SEEN.append(1); return rows", extra="SEEN = []\n\n\n"),
        STATE.format(r"model\.py SEEN"),
    ),
    "an attribute of its class": (
        own(before="Own.count = getattr(Own, 'count', 0) + 1; return rows"),
        STATE.format(r"model\.py Own\.count"),
    ),
    "a counter of bytes": (
        own(before="SEEN[0] += 1; return rows", extra="SEEN = bytearray(1)\n\n\n"),
        STATE.format(r"model\.py SEEN"),
    ),
    "a counter of itertools": (
        own(before="next(SEEN); return rows", extra="import itertools\nSEEN = itertools.count()\n"),
        STATE.format(r"model\.py SEEN"),
    ),
    "the next of an iterator": (
        own("self.next = iter(range(999)).__next__", "self.next(); return rows"),
        STATE.format(r"next state"),
    ),
    "an attribute of a list": (counting_on("list"), STATE.format(r"kept\.n")),
    "an attribute of a number": (counting_on("int"), STATE.format(r"kept\.n")),
    "a function that remembers": (
        own(
            "self.count = counter()",
            "self.count(); return rows",
            "def counter():\n    n = 0\n    def count():\n        nonlocal n\n        n += 1\n"
            "    return count\n\n\n",
        ),
        STATE.format("count n"),
    ),
    "a default argument that grows": (
        own(
            before="note(rows); return rows",
            extra="def note(x, seen=[]):\n    seen.append(1)\n\n\n",
        ),
        STATE.format(r"model\.py note defaults\[0\]"),
    ),
    "a default of a keyword that grows": (
        own(
            before="note(rows); return rows",
            extra="def note(x, *, seen=[]):\n    seen.append(1)\n\n\n",
        ),
        STATE.format(r"model\.py note defaults\['seen'\]"),
    ),
    "a static method that remembers": (
        own(
            before="Kept.tick(0); return rows",
            extra=REMEMBERS + "    tick = staticmethod(made())\n",
        ),
        STATE.format(r"model\.py Kept\.tick n"),
    ),
    "a class method that remembers": (
        own(
            before="Kept.tick(); return rows", extra=REMEMBERS + "    tick = classmethod(made())\n"
        ),
        STATE.format(r"model\.py Kept\.tick n"),
    ),
    "a property that remembers": (
        own(before="Kept().tick; return rows", extra=REMEMBERS + "    tick = property(made())\n"),
        STATE.format(r"model\.py Kept\.tick n"),
    ),
    "a hook that remembers": (
        own(
            "self.layer.register_forward_hook(made())",
            extra=REMEMBERS.replace("(self)", "(layer, given, answer)"),
        ),
        STATE.format(r"layer\._forward_hooks"),
    ),
    "an attribute of a parameter": (
        own(
            "self.layer.weight.n = 0",
            "self.layer.weight.n += 1; return rows",
        ),
        STATE.format(r"layer\.weight\.n"),
    ),
    "an attribute of a library's class": (
        own(before="nn.Linear.n = getattr(nn.Linear, 'n', 0) + 1; return rows"),
        STATE.format(r"Linear\.n"),
    ),
    "an attribute of a library's class in training alone": (
        own(
            before="nn.Module.n = getattr(nn.Module, 'n', 0) + self.training; return rows",
        ),
        STATE.format(r"Module\.n"),
    ),
    "a generator of its own": (
        own("self.random = np.random.default_rng(1)", "self.random.random(); return rows"),
        STATE.format(r"random state"),
    ),
    "state where nothing is looked for": (
        own(
            before="np.seen = getattr(np, 'seen', 0) + 1; return rows + np.seen",
        ),
        r"lets one row change|its answers change with equal parameters",
    ),
    "a random number that no seed decides": (
        own(before="return rows + random.random() * self.training"),
        "lets one row change|other parameters from the same rows and seed",
    ),
    "rows that influence each other": (
        own(before="return rows - rows.mean(0)"),
        "lets one row change what it gives for another in evaluation mode.*group or layer norm",
    ),
    "rows that influence each other in training": (
        own(before="return rows - rows.mean(0).detach() * self.training"),
        "lets one row change what it gives for another in training mode",
    ),
    "batch norm": (
        returning(
            "nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=False), "
            "nn.Linear(4, 1))"
        ),
        r"layer 1 \(BatchNorm1d\) needs more than one row.*group or layer norm|lets one row change",
    ),
    "spectral norm": (
        returning("nn.utils.parametrizations.spectral_norm(nn.Linear(6, 1))"),
        r"keeps state beside its parameters \(parametrizations",
    ),
    "no dimension for one row": (
        own(before="return rows").replace(
            "self.layer(self.before(rows))", "self.layer(rows).squeeze()"
        ),
        r"in evaluation mode its output for 1 rows is of shape \(\)",
    ),
    "a wrong number of logits": (
        returning("nn.Linear(6, 3)"),
        r"its output for 5 rows is of shape \(5, 3\)",
    ),
    "a tuple in training": (
        own().replace(
            "return self.layer(self.before(rows))",
            "return (self.layer(rows), 1) if self.training else self.layer(rows)",
        ),
        "in training mode its output for 5 rows is a tuple",
    ),
    "a table": (
        own().replace("return self.layer(self.before(rows))", "return {'x': self.layer(rows)}"),
        "in evaluation mode its output for 5 rows is a dict",
    ),
    "half a float": (
        own().replace("self.layer(self.before(rows))", "self.layer(rows).bfloat16()"),
        r"output for 5 rows is torch\.bfloat16: end with \.float\(\)",
    ),
    "NaN": (own(before="return rows * float('nan')"), "gives NaN or infinity in evaluation mode"),
    "a layer that does not fit": (
        returning("nn.Sequential(nn.Linear(6, 4), nn.Linear(5, 1))"),
        r"in evaluation mode layer 1 \(Linear\) fails for 5 rows: mat1 and mat2",
    ),
    "an error of its own": (
        own(before="raise KeyError('x')"),
        r"layer Own fails for 5 rows: 'x'",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_try_model_refuses(what: str) -> None:
    source, reason = BAD[what]
    with pytest.raises(LearningError, match=reason):
        tried(source)


@pytest.mark.parametrize(
    ("layer", "better"), [("nn.LSTM", "DPLSTM"), ("nn.GRU", "DPGRU"), ("nn.RNN", "DPRNN")]
)
def test_try_model_names_the_layer_that_private_training_cannot_use(
    layer: str, better: str
) -> None:
    source = GOOD["a recurrent layer"].replace("nn.LSTM", layer)
    kind = layer.removeprefix("nn.")
    with pytest.raises(LearningError, match=rf"layer cells is {kind}, .*opacus\.layers\.{better}"):
        tried(source, privacy=PRIVACY)


def test_kept_by_ends_where_a_network_refers_to_itself() -> None:
    layer = torch.nn.Linear(2, 1)
    layer.me = [layer]
    layer.me.append(layer.me)
    assert kept_by(layer, {})["me"] == "list of 2"
