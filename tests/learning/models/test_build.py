import numpy as np
import pytest
import torch
from torch import nn

from wardround.learning.errors import LearningError
from wardround.learning.models import MODELS, build_model, flatten, layout_of

HERE = __name__


def own_network(width):
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
        (f"{HERE}:own_network", {"width": 6}, (6,), 1, 7),
    ],
)
def test_build_model_gives_logits_for_rows_of_its_shape(name, arguments, shape, outputs, count):
    model = build_model(name, arguments, seed=0)
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
    first = flatten(build_model(name, arguments, seed=7))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert flatten(build_model(name, arguments, seed=7)).tobytes() == first.tobytes()
    assert not np.array_equal(flatten(build_model(name, arguments, seed=8)), first)


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
        build_model(name, arguments, seed=0)


def test_build_model_when_name_is_unknown_lists_the_known():
    with pytest.raises(LearningError, match=r"cnn, logistic, mlp, or write package\.module:"):
        build_model("transformer", {}, seed=0)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_package.x:y", "ModuleNotFoundError"),
        (f"{HERE}:absent", "has no absent"),
        (f"{HERE}:HERE", "not callable"),
        (f"{HERE}:not_a_network", "returned int"),
        (f"{HERE}:explodes", "no luck"),
        (f"{HERE}:own_network", "width"),
        (f"{HERE}:", "form package.module:factory"),
        (":x", "form package.module:factory"),
        ("..x:y", "import failed"),
    ],
)
def test_build_model_when_factory_fails_says_why(name, reason):
    with pytest.raises(LearningError, match=f"^{name} gives no model .*{reason}"):
        build_model(name, {}, seed=0)


def test_build_model_when_batch_norm_names_the_buffers():
    with pytest.raises(LearningError, match=r"running_mean.*group or layer norm") as caught:
        build_model(f"{HERE}:normed", {}, seed=0)
    assert "1.running_var" in str(caught.value)


def test_build_model_when_buffer_is_a_constant_takes_it():
    assert layout_of(build_model(f"{HERE}:Masked", {}, seed=0)).names == ("weight",)


@pytest.mark.parametrize(
    ("factory", "reason"),
    [("double", "float64"), ("lazy", "not fixed"), ("empty", "no parameters")],
)
def test_build_model_when_parameters_do_not_suit_says_why(factory, reason):
    with pytest.raises(LearningError, match=reason):
        build_model(f"{HERE}:{factory}", {}, seed=0)
