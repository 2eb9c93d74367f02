from typing import Any

import numpy as np
import pytest
import torch

from tests.learning.networks import named_model, own_model
from wardround.learning.errors import LearningError
from wardround.learning.loss import count_classes
from wardround.learning.models import (
    MODELS,
    build_model,
    check_fits,
    flatten,
    layout_of,
    row_shape_of,
)
from wardround.learning.models.own import own_modules
from wardround.protocol.errors import StudyMismatch
from wardround.protocol.model import NO_FILES, ModelSpec

SOURCE = """
import os
import torch
from torch import nn

HERE = "a text"
ORDER = os.environ.get("ORDER", "first second").split()


def build(width=6):
    return nn.Linear(width, 1)


def normed():
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("mask", torch.ones(2), persistent=False)


def double():
    return nn.Linear(2, 1).double()


def lazy():
    return nn.LazyLinear(1)


def empty():
    return nn.Flatten()


def not_a_network():
    return 3


def explodes():
    raise RuntimeError("no luck")


def exits():
    raise SystemExit(0)


def ordered():
    return nn.ModuleDict({name: nn.Linear(2, 1) for name in ORDER})
"""


def built(source, arguments=None, **keys):
    model, files = own_model(source, arguments=arguments or {}, **keys)
    return build_model(model, files, seed=0)


@pytest.mark.parametrize(
    ("name", "arguments", "shape", "outputs", "count"),
    [
        ("logistic", {"features": 13}, (13,), 1, 14),
        ("logistic", {"features": 13, "classes": 5}, (13,), 5, 70),
        ("logistic", {"features": 64}, (1, 8, 8), 1, 65),
        ("mlp", {"features": 4, "hidden": [8, 3]}, (4,), 1, 40 + 27 + 4),
        ("mlp", {"features": 4, "hidden": [], "classes": 3}, (4,), 3, 15),
        ("cnn", {"side": 28, "classes": 10}, (1, 28, 28), 10, 80 + 1168 + 7850),
        ("cnn", {"channels": 3, "side": 7, "classes": 2}, (3, 7, 7), 1, 224 + 1168 + 17),
    ],
)
def test_build_model_gives_logits_for_rows_of_its_shape(name, arguments, shape, outputs, count):
    model = named_model(name, arguments)
    assert model(torch.zeros(5, *shape)).shape == (5, outputs)
    assert layout_of(model).parameter_count == count


@pytest.mark.parametrize("name", MODELS)
def test_build_model_depends_on_its_seed_alone(name):
    arguments = {
        "logistic": {"features": 4},
        "mlp": {"features": 4, "hidden": [3]},
        "cnn": {"side": 4, "classes": 3},
    }[name]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = flatten(named_model(name, arguments, seed=7))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert flatten(named_model(name, arguments, seed=7)).tobytes() == first.tobytes()
    assert not np.array_equal(flatten(named_model(name, arguments, seed=8)), first)


@pytest.mark.parametrize(
    ("name", "arguments", "argument"),
    [
        ("logistic", {}, "features"),
        ("logistic", {"features": 0}, "features"),
        ("logistic", {"features": "13"}, "features"),
        ("logistic", {"features": 3, "classes": 1}, "classes"),
        ("logistic", {"features": 3, "depth": 1}, "depth"),
        ("mlp", {"features": 3, "hidden": [4, 0]}, "hidden.1"),
        ("mlp", {"features": 3, "hidden": 4}, "hidden"),
        ("cnn", {"side": 3, "classes": 2}, "side"),
    ],
)
def test_build_model_when_argument_is_wrong_names_it(name, arguments, argument):
    with pytest.raises(LearningError, match=f"model {name}: argument '{argument}'"):
        named_model(name, arguments)


def test_build_model_when_name_is_unknown_lists_the_known():
    with pytest.raises(LearningError, match=r"cnn, logistic, mlp, or give a file of the study"):
        named_model("transformer", {})


# ---------------------------------------------------------------- a study's own files


def test_own_model_is_built_from_memory_alone():
    model, files = own_model(SOURCE, arguments={"width": 4})
    assert layout_of(build_model(model, files, seed=0)).shapes == ((1, 4), (1,))
    modules = own_modules(model)
    assert list(modules) == ["model.py"]
    assert not hasattr(modules["model.py"], "__file__")


def test_own_files_import_each_other_and_nothing_beside_them(tmp_path, monkeypatch):
    (tmp_path / "layers.py").write_text("WIDTH = 99\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    files = {
        "model.py": b"from torch import nn\nfrom . import layers\nfrom .layers import WIDTH\n"
        b"def build():\n    return nn.Linear(layers.WIDTH, WIDTH)\n",
        "layers.py": b"WIDTH = 3\n",
    }
    assert layout_of(built(files)).shapes == ((3, 3), (3,))
    del files["layers.py"]
    with pytest.raises(LearningError, match=r"gives no model .*ImportError.*model.py, line 2"):
        built(files)


def test_own_files_are_imported_anew_for_each_network():
    source = (
        "from torch import nn\nSEEN = []\n"
        "def build():\n    SEEN.append(1)\n    return nn.Linear(len(SEEN), 1)\n"
    )
    assert layout_of(built(source)) == layout_of(built(source))


@pytest.mark.parametrize("altered", [{}, {"model.py": b""}, {"other.py": b""}])
def test_own_model_when_a_file_is_not_the_pinned_one_imports_nothing(altered):
    model, _ = own_model("raise RuntimeError('it was imported')")
    with pytest.raises(StudyMismatch, match=r"file model\.py"):
        build_model(model, altered, seed=0)


def test_own_model_takes_only_the_files_that_are_pinned():
    model, files = own_model("from . import extra")
    with pytest.raises(LearningError, match="cannot import name 'extra'"):
        build_model(model, {**files, "extra.py": b""}, seed=0)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"factory": "absent"}, "model.py has no absent"),
        ({"factory": "HERE"}, "cannot call, HERE"),
        ({"factory": "not_a_network"}, "returned int"),
        ({"factory": "explodes"}, "no luck, at model.py, line 42"),
        ({"factory": "exits"}, "SystemExit: 0"),
        ({"arguments": {"depth": 2}}, "depth"),
    ],
)
def test_own_model_when_factory_fails_says_why(keys, reason):
    with pytest.raises(LearningError, match=f"gives no model .*{reason}"):
        built(SOURCE, **keys)


def test_own_model_when_its_file_is_no_program_names_the_line():
    with pytest.raises(LearningError, match=r"SyntaxError.*line 2"):
        built("x = 1\ny = = 2\n")


def test_own_model_when_batch_norm_names_the_buffers():
    with pytest.raises(LearningError, match=r"running_mean.*group or layer norm") as caught:
        built(SOURCE, factory="normed")
    assert "1.running_var" in str(caught.value)


def test_own_model_when_buffer_is_a_constant_takes_it():
    assert layout_of(built(SOURCE, factory="Masked")).names == ("weight",)


@pytest.mark.parametrize(
    ("factory", "reason"),
    [("double", "float64"), ("lazy", "not fixed"), ("empty", "no parameters")],
)
def test_own_model_when_parameters_do_not_suit_says_why(factory, reason):
    with pytest.raises(LearningError, match=reason):
        built(SOURCE, factory=factory)


def test_own_model_when_its_layout_is_pinned_refuses_another(monkeypatch):
    model, files = own_model(SOURCE, factory="ordered")
    pinned = model.pinned(layout_of(build_model(model, files, seed=0)))
    build_model(pinned, files, seed=0)
    for order in ("second first", "third second"):
        monkeypatch.setenv("ORDER", order)
        with pytest.raises(StudyMismatch, match=f"layout.*{order.split()[0]}.weight"):
            build_model(pinned, files, seed=0)


# ---------------------------------------------------------------- a model and a table


@pytest.mark.parametrize(
    ("shape", "classes", "reason"),
    [
        ((6,), 2, None),
        ((7,), 2, "takes 6 features, and a row of this table has 7"),
        ((2, 3), 2, r"takes rows of shape \(6,\)"),
        ((6,), 3, "tells 2 classes apart, and the data have 3"),
    ],
)
def test_check_fits_when_model_is_own_runs_nothing_of_it(shape, classes, reason):
    model, _ = own_model("raise RuntimeError('it was imported')")
    if reason is None:
        check_fits(model, shape, classes)
    else:
        with pytest.raises(LearningError, match=reason):
            check_fits(model, shape, classes)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("classes", [None, 2, 3, 10])
def test_classes_of_a_named_model_are_those_of_its_network(name: str, classes: int | None) -> None:
    sizes: dict[str, Any] = {
        "logistic": {"features": 6},
        "mlp": {"features": 6, "hidden": [3]},
        "cnn": {"side": 4},
    }[name]
    if classes is None and MODELS[name].model_fields["classes"].is_required():
        return
    arguments = sizes if classes is None else sizes | {"classes": classes}
    spec = ModelSpec(name=name, arguments=arguments)
    row = torch.zeros(1, *row_shape_of(spec))
    assert spec.told_apart == count_classes(build_model(spec, NO_FILES, 0), row)


def test_classes_of_a_studys_own_model_are_those_that_it_declares() -> None:
    assert own_model(SOURCE, classes=7)[0].told_apart == 7
