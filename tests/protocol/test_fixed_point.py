from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wardround.protocol.errors import OutOfRange, ProtocolError
from wardround.protocol.fixed_point import (
    add_exact,
    dequantize,
    largest_magnitude,
    quantize,
    quantize_update,
    vector_bytes,
    vector_from_bytes,
)

int32s = arrays(np.int32, st.integers(1, 50), elements=st.integers(-(2**31), 2**31 - 1))


def test_quantize_rounds_half_to_even() -> None:
    weights = np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32)
    assert quantize(weights, 0).tolist() == [0, 2, 2, 0, -2]


@given(arrays(np.int32, 20, elements=st.integers(-(2**24), 2**24)))
def test_quantize_undoes_dequantize_when_float32_can_hold_it(model: np.ndarray) -> None:
    assert (quantize(dequantize(model, 20), 20) == model).all()


@given(int32s, int32s)
def test_update_added_to_base_gives_the_quantized_weights(a: np.ndarray, b: np.ndarray) -> None:
    size = min(a.size, b.size)
    base, weights = a[:size] // 4, (b[:size] // 4).astype(np.float32) * np.float32(2**-20)
    update = quantize_update(weights, base, 20)
    assert (add_exact(base, update) == quantize(weights, 20)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2048.0, -2049.0])
def test_quantize_refuses_what_does_not_fit(bad: float) -> None:
    weights = np.zeros(70_000, np.float32)
    weights[69_999] = bad
    with pytest.raises(OutOfRange) as caught:
        quantize(weights, 20)
    assert caught.value.index == 69_999


def test_quantize_takes_the_extremes() -> None:
    assert quantize(np.array([-2048.0], np.float32), 20).tolist() == [-(2**31)]


def test_update_beyond_int32_is_refused() -> None:
    with pytest.raises(OutOfRange):
        quantize_update(np.array([2047.0], np.float32), np.array([-(2**31)], np.int32), 20)


def test_add_refuses_overflow_and_names_the_coordinate() -> None:
    base = np.array([1, 2**31 - 1], np.int32)
    with pytest.raises(OutOfRange) as caught:
        add_exact(base, np.array([1, 1], np.int32))
    assert caught.value.index == 1


def test_lengths_must_agree() -> None:
    one, two = np.zeros(1, np.int32), np.zeros(2, np.int32)
    with pytest.raises(ProtocolError):
        add_exact(one, two)
    with pytest.raises(ProtocolError):
        quantize_update(np.zeros(2, np.float32), one, 20)


@given(int32s)
def test_bytes_round_trip_little_endian(vector: np.ndarray) -> None:
    data = vector_bytes(vector)
    assert data[:4] == int(vector[0]).to_bytes(4, "little", signed=True)
    assert (vector_from_bytes(data, vector.size) == vector).all()


def test_bytes_of_another_length_are_refused() -> None:
    with pytest.raises(ProtocolError):
        vector_from_bytes(b"\0" * 7, 2)


def test_vector_from_bytes_is_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        vector_from_bytes(b"\0" * 8, 2)[0] = 1


def test_largest_magnitude_does_not_wrap() -> None:
    assert largest_magnitude(np.array([-(2**31), 5], np.int32)) == 2**31
    assert largest_magnitude(np.array([], np.int32)) == 0
