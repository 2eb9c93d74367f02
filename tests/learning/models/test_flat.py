import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from tests.learning.networks import named_model
from wardround.learning.errors import LearningError
from wardround.learning.models import flatten, layout_of, load_flat
from wardround.protocol.errors import ProtocolError
from wardround.protocol.layout import Layout

MLP = named_model("mlp", {"features": 2, "hidden": [3]}, seed=0)
P = 13


def test_layout_of_follows_parameter_order():
    assert layout_of(MLP) == Layout(
        names=("1.weight", "1.bias", "3.weight", "3.bias"), shapes=((3, 2), (3,), (1, 3), (1,))
    )


@given(
    hnp.arrays(np.float32, P, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
)
def test_flatten_gives_back_what_was_loaded(vector):
    load_flat(MLP, vector)
    assert flatten(MLP).tobytes() == vector.tobytes()


def test_load_flat_puts_each_coordinate_in_its_place():
    load_flat(MLP, np.arange(P, dtype=np.float32))
    parts = [parameter.flatten().tolist() for parameter in MLP.parameters()]
    assert parts == [[0, 1, 2, 3, 4, 5], [6, 7, 8], [9, 10, 11], [12]]


def test_load_flat_makes_parameters_views_of_one_copy():
    vector = np.zeros(P, np.float32)
    vector.flags.writeable = False
    flat = load_flat(MLP, vector)
    assert flat.data_ptr() % 64 == 0
    for parameter in MLP.parameters():
        parameter.data += 1
    assert flat.tolist() == [1.0] * P
    load_flat(MLP, vector)
    assert flat.tolist() == [1.0] * P, "an earlier copy changed"
    assert flatten(MLP).tolist() == [0.0] * P


def test_flatten_when_a_parameter_is_shared_counts_it_once():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    load_flat(model, np.arange(8, dtype=np.float32))
    assert layout_of(model).parameter_count == 8
    assert model[1].weight is model[0].weight
    assert flatten(model).tolist() == list(range(8))


def test_flatten_when_parameter_is_transposed_reads_it_in_order():
    model = nn.Linear(2, 3)
    model.weight.data = torch.arange(6.0).reshape(2, 3).T
    assert flatten(model)[:6].tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("shape", [(P - 1,), (P + 1,), (1, P), (0,)])
def test_load_flat_when_length_differs_is_refused(shape):
    with pytest.raises(ProtocolError):
        load_flat(MLP, np.zeros(shape, np.float32))


def test_load_flat_when_dtype_differs_is_refused():
    with pytest.raises(LearningError, match="float64"):
        load_flat(MLP, np.zeros(P))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_load_flat_when_not_finite_names_the_coordinate(value):
    vector = np.zeros(P, np.float32)
    vector[5] = value
    with pytest.raises(LearningError, match="weight 5 is"):
        load_flat(MLP, vector)
