import shutil
from hashlib import sha256

import numpy as np
import pytest

from wardround.learning.datasets import DATA_DIR_VARIABLE, load_dataset
from wardround.learning.datasets import heart as heart_module
from wardround.learning.datasets.heart import HOSPITALS
from wardround.learning.errors import DataError


def test_load_gives_the_four_hospitals_of_flamby(heart_folder):
    data = load_dataset("heart", data_dir=heart_folder)
    assert (data.classes, data.shape) == (2, (13,))
    assert {site.name: (len(site.train), len(site.test)) for site in data.sites} == {
        "cleveland": (199, 104),
        "hungarian": (172, 89),
        "switzerland": (30, 16),
        "long-beach-va": (85, 45),
    }
    assert data.sites[0].name == "cleveland"
    assert [len(site.train) + len(site.test) for site in data.sites] == [303, 261, 46, 130]
    # Cleveland has no missing value in these columns: 139 of its 303 patients are ill.
    cleveland = data.sites[0]
    assert cleveland.train.labels.sum() + cleveland.test.labels.sum() == 139
    for site in data.sites:
        spread = site.train.features.std(axis=0, ddof=1)
        assert site.train.features.mean(axis=0) == pytest.approx(np.zeros(13), abs=1e-6)
        # A column that is constant at a hospital becomes zeros there.
        assert all(abs(value - 1) < 1e-5 or value == 0 for value in spread)


def test_load_finds_the_files_directly_or_in_heart(heart_folder, tmp_path, monkeypatch):
    shutil.copytree(heart_folder, tmp_path / "data" / "heart")
    direct = load_dataset("heart", data_dir=heart_folder)
    below = load_dataset("heart", data_dir=tmp_path / "data")
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path / "data"))
    named = load_dataset("heart")
    for sites in zip(direct.sites, below.sites, named.sites, strict=True):
        assert len({site.train.features.tobytes() for site in sites}) == 1


def test_load_when_a_file_is_missing_names_it(heart_folder, tmp_path):
    shutil.copytree(heart_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "processed.switzerland.data").unlink()
    with pytest.raises(DataError, match=r"processed\.switzerland\.data is missing.*data-dir"):
        load_dataset("heart", data_dir=tmp_path)


def test_load_when_a_file_is_altered_shows_both_digests(heart_folder, tmp_path):
    shutil.copytree(heart_folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "processed.va.data"
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    found = sha256(data).hexdigest()
    with pytest.raises(DataError, match=f"{path} .*{HOSPITALS[3].sha256}.*{found}"):
        load_dataset("heart", data_dir=tmp_path)


def test_load_when_no_folder_is_named_downloads_once(
    heart_folder, tmp_path, monkeypatch, https_server
):
    server = https_server({h.file: (heart_folder / h.file).read_bytes() for h in HOSPITALS})
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(heart_module, "URL", server.url)
    monkeypatch.setattr(heart_module.platformdirs, "user_cache_dir", lambda name: str(tmp_path))
    first = load_dataset("heart")
    assert len(server.asked) == 4
    cached = tmp_path / "heart" / HOSPITALS[0].file
    assert cached.stat().st_size == HOSPITALS[0].length_bytes
    second = load_dataset("heart")
    assert len(server.asked) == 4
    assert second.sites[0].train.features.tobytes() == first.sites[0].train.features.tobytes()
    cached.write_bytes(b"damaged")
    load_dataset("heart")
    assert len(server.asked) == 5


def test_load_when_the_mirror_is_edited_keeps_nothing(
    heart_folder, tmp_path, monkeypatch, https_server
):
    server = https_server({h.file: b"0" * h.length_bytes for h in HOSPITALS})
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(heart_module, "URL", server.url)
    monkeypatch.setattr(heart_module.platformdirs, "user_cache_dir", lambda name: str(tmp_path))
    with pytest.raises(DataError, match=HOSPITALS[0].sha256):
        load_dataset("heart")
    assert list(tmp_path.iterdir()) == []


def test_load_when_given_arguments_refuses_them():
    with pytest.raises(DataError, match="sites"):
        load_dataset("heart", {"sites": 3})
