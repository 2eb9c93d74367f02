"""Mask streams against RFC 8439 and a slow ChaCha20, and the places of coordinates."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.protocol.masking import VECTORS, read
from tests.vectors import masking as slow
from wardround.protocol.errors import Malformed, ProtocolError
from wardround.protocol.masking import streams
from wardround.protocol.masking.streams import KEYS_MAX, Segments, add_stream, key_stream

KEYS = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize("vector", VECTORS["rfc8439"], ids=lambda v: str(v["counter"]))
def test_blocks_are_those_of_the_rfc(vector: dict[str, Any]) -> None:
    key, nonce, block = (read(vector[name]) for name in ("key", "nonce", "block"))
    counter = vector["counter"]
    assert slow.chacha20_block(key, counter, nonce) == block
    start = counter.to_bytes(4, "little") + nonce
    cipher = Cipher(algorithms.ChaCha20(key, start), mode=None).encryptor()
    assert cipher.update(bytes(64)) == block
    if nonce == bytes(12):
        assert key_stream(key).update(bytes(64 * (counter + 1)))[-64:] == block


@given(KEYS, st.integers(0, 40))
def test_stream_is_that_of_the_slow_cipher(key: bytes, counter: int) -> None:
    assert key_stream(key).update(bytes(64 * counter + 64))[-64:] == slow.chacha20_block(
        key, counter
    )


@pytest.mark.parametrize("vector", VECTORS["segments"], ids=lambda v: str(v["parameters"]))
def test_segments_are_those_of_the_vectors(vector: dict[str, Any]) -> None:
    segments = Segments(vector["parameters"], vector["rounds"])
    assert segments.chunks_each == vector["chunks_each"]
    assert segments.count == vector["segments"]
    for coordinate, *place in vector["places"]:
        assert segments.place(coordinate) == tuple(place)


@given(st.integers(1, 2**32 - 1), st.integers(1, KEYS_MAX), st.data())
def test_segments_keep_both_limits_and_cover_the_vector(
    parameters: int, rounds: int, data: st.DataObject
) -> None:
    segments = Segments(parameters, rounds)
    assert segments.chunks_each == slow.chunks_each(parameters, rounds)
    assert 1 <= segments.count <= 1024
    assert segments.count * rounds <= KEYS_MAX
    assert (segments.count - 1) * segments.coordinates_each < parameters
    assert parameters <= segments.count * segments.coordinates_each
    coordinate = data.draw(st.integers(0, parameters - 1))
    segment, counter, word = segments.place(coordinate)
    assert 0 <= segment < segments.count
    assert counter < 2**32
    assert segment * segments.coordinates_each + 8 * counter + word == coordinate


# Without shrinking: the slow cipher takes minutes for that.
@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.integers(1, 700), st.sampled_from([1, KEYS_MAX // 3, KEYS_MAX]), st.data())
def test_added_stream_is_the_slow_one_at_every_coordinate(
    parameters: int, rounds: int, data: st.DataObject
) -> None:
    segments = Segments(parameters, rounds)
    keys = data.draw(st.lists(KEYS, min_size=segments.count, max_size=segments.count))
    weight = data.draw(st.integers(0, 64))
    vector = np.frombuffer(
        np.random.default_rng(parameters).bytes(8 * parameters), np.uint64
    ).copy()
    before = vector.tolist()
    add_stream(vector, segments, keys, weight)
    masks = slow.stream(keys, parameters, rounds)
    assert masks[-1] == slow.mask_at(keys, parameters, rounds, parameters - 1)
    assert vector.tolist() == [(b + weight * m) % 2**64 for b, m in zip(before, masks, strict=True)]


@pytest.mark.parametrize("step", [1024, 3 * 1024, 1 << 17])
@pytest.mark.parametrize("parameters", [1, 128, 20_000, 300_001])
def test_stream_is_the_same_whatever_is_computed_at_once(
    monkeypatch: pytest.MonkeyPatch, parameters: int, step: int
) -> None:
    segments = Segments(parameters, 10)
    keys = [number.to_bytes(32, "big") for number in range(segments.count)]
    size = 8 * segments.coordinates_each
    whole = b"".join(key_stream(key).update(bytes(size)) for key in keys)[: 8 * parameters]
    monkeypatch.setattr(streams, "_STEP", step)
    vector = np.zeros(parameters, np.uint64)
    add_stream(vector, segments, keys, 3)
    assert np.array_equal(vector, np.frombuffer(whole, "<u8") * np.uint64(3))


def test_memory_beside_the_vector_is_bounded() -> None:
    segments = Segments(2_000_000, 10)
    keys = [number.to_bytes(32, "big") for number in range(segments.count)]
    vector = np.zeros(2_000_000, np.uint64)
    tracemalloc.start()
    try:
        add_stream(vector, segments, keys, 5)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_other_lengths_are_refused() -> None:
    segments = Segments(300, 10)
    keys = [bytes(32)] * segments.count
    with pytest.raises(ProtocolError, match="299 elements"):
        add_stream(np.zeros(299, np.uint64), segments, keys)
    with pytest.raises(Malformed, match="2 where 3 segments"):
        add_stream(np.zeros(300, np.uint64), segments, keys[1:])
    with pytest.raises(Malformed, match="coordinate 300"):
        segments.place(300)
    with pytest.raises(Malformed, match="coordinate -1"):
        segments.place(-1)


@pytest.mark.parametrize(("parameters", "rounds"), [(0, 1), (2**32, 1), (1, 0), (1, KEYS_MAX + 1)])
def test_study_without_segments_is_refused(parameters: int, rounds: int) -> None:
    with pytest.raises(Malformed):
        Segments(parameters, rounds)
