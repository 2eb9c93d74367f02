import contextlib
import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wardround.learning.datasets.table import Table, load_table, save_table
from wardround.learning.errors import DataError


def rows(n=4, d=3):
    return np.ones((n, d), np.float32), np.zeros(n, np.int64)


@given(
    features=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=4, min_side=0, max_side=5),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    data=st.data(),
)
def test_load_table_when_saved_gives_equal_arrays(tmp_path_factory, features, data):
    labels = data.draw(hnp.arrays(np.int64, len(features), elements=st.integers(0, 9)))
    path = tmp_path_factory.mktemp("site") / "train.npz"
    save_table(Table(features, labels), path)
    loaded = load_table(path)
    assert loaded.features.tobytes() == features.tobytes()
    assert loaded.features.shape == features.shape
    assert loaded.labels.tolist() == labels.tolist()
    assert [entry.name for entry in path.parent.iterdir()] == ["train.npz"]


def test_save_table_twice_gives_equal_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        save_table(Table(*rows()), tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("features", "labels", "reason"),
    [
        (np.ones((2, 3)), np.zeros(2, np.int64), "float64"),
        (np.ones((2, 3), np.float32), np.zeros(2, np.int32), "int32"),
        (np.ones((2, 3), np.float32), np.zeros(3, np.int64), "shape"),
        (np.ones(2, np.float32), np.zeros(2, np.int64), "shape"),
        (np.array([[1], [np.nan]], np.float32), np.zeros(2, np.int64), "row 1"),
        (np.array([[np.inf], [1]], np.float32), np.zeros(2, np.int64), "row 0"),
        (np.ones((2, 1), np.float32), np.array([0, -1]), "negative label -1"),
        ([[1.0]], [0], "not arrays"),
    ],
)
def test_table_when_malformed_says_why(features, labels, reason):
    with pytest.raises(DataError, match=reason):
        Table(features, labels)


def test_check_classes_when_label_beyond_classes_names_the_row():
    table = Table(np.ones((3, 1), np.float32), np.array([0, 1, 2]))
    with pytest.raises(DataError, match=r"row 2 has label 2, not in 0 \.\. 1"):
        table.check_classes(2)


def test_load_table_when_missing_names_the_file(tmp_path):
    with pytest.raises(DataError, match=r"t\.npz is missing"):
        load_table(tmp_path / "t.npz")


def test_load_table_when_folder_is_refused(tmp_path):
    with pytest.raises(DataError):
        load_table(tmp_path)


def test_load_table_when_object_array_is_never_unpickled(tmp_path):
    features, labels = rows()
    np.savez(tmp_path / "t.npz", features=features.astype(object), labels=labels)
    with pytest.raises(DataError, match="allow_pickle"):
        load_table(tmp_path / "t.npz")


def test_load_table_when_other_arrays_are_inside_is_refused(tmp_path):
    features, labels = rows()
    np.savez(tmp_path / "t.npz", features=features, labels=labels, more=labels)
    with pytest.raises(DataError, match="more"):
        load_table(tmp_path / "t.npz")


def test_load_table_when_plain_array_is_refused(tmp_path):
    np.save(tmp_path / "t.npy", rows()[0])
    with pytest.raises(DataError, match="npz"):
        load_table(tmp_path / "t.npy")


def test_load_table_when_damaged_never_gives_rows(tmp_path):
    path = tmp_path / "t.npz"
    save_table(Table(*rows()), path)
    good = path.read_bytes()
    for keep in (0, 1, 30, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:keep])
        with pytest.raises(DataError):
            load_table(path)
    middle = good.index(np.ones(12, np.float32).tobytes())
    path.write_bytes(good[:middle] + b"\xff" + good[middle + 1 :])
    with pytest.raises(DataError, match="CRC"):
        load_table(path)


@given(places=st.lists(st.integers(0, 10**6), min_size=1, max_size=3), byte=st.integers(0, 255))
def test_load_table_when_compressed_and_damaged_is_a_table_or_refused(
    tmp_path_factory, places, byte
):
    path = tmp_path_factory.getbasetemp() / "compressed.npz"
    random = np.random.default_rng(1).random((50, 4)).astype(np.float32)
    np.savez_compressed(path, features=random, labels=np.zeros(50, np.int64))
    content = bytearray(path.read_bytes())
    for place in places:
        content[place % len(content)] = byte
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        load_table(path)


@pytest.mark.parametrize("length", [10**12, 2**62])
def test_load_table_when_a_header_names_more_rows_than_memory_holds_is_refused(tmp_path, length):
    header = io.BytesIO()
    said = {"descr": "<f4", "fortran_order": False, "shape": (length, 10)}
    np.lib.format.write_array_header_1_0(header, said)
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        for name in ("features", "labels"):
            archive.writestr(f"{name}.npy", header.getvalue())
    with pytest.raises(DataError, match="is no table"):
        load_table(tmp_path / "t.npz")
