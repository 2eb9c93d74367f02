import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.torch import load_model

from tests.learning.networks import named_model
from wardround.learning.export import export_model
from wardround.learning.models import flatten, layout_of
from wardround.protocol.errors import ProtocolError
from wardround.protocol.layout import Layout

LAYOUT = Layout(("b", "a", "scalar"), ((3,), (2, 2), ()))
WEIGHTS = np.arange(8, dtype=np.float32)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=6))
def test_export_model_keeps_weights_and_metadata(tmp_path_factory, metadata):
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    export_model(WEIGHTS, LAYOUT, path, metadata)
    with safe_open(path, framework="numpy") as file:
        tensors = [file.get_tensor(name) for name in LAYOUT.names]
        assert (file.metadata() or {}) == metadata
    assert [tensor.shape for tensor in tensors] == list(LAYOUT.shapes)
    assert b"".join(tensor.tobytes() for tensor in tensors) == WEIGHTS.tobytes()
    header = path.read_bytes()
    text = header[8 : 8 + int.from_bytes(header[:8], "little")]
    keys = list(json.loads(text).get("__metadata__", {}))
    assert keys == sorted(metadata)
    assert [entry.name for entry in path.parent.iterdir()] == ["m.safetensors"]


def test_export_model_is_read_by_the_library_itself(tmp_path):
    model = named_model("cnn", {"side": 8, "classes": 3}, seed=4)
    path = tmp_path / "m.safetensors"
    export_model(flatten(model), layout_of(model), path, {"study": "0x01"})
    other = named_model("cnn", {"side": 8, "classes": 3}, seed=5)
    load_model(other, path)
    assert flatten(other).tobytes() == flatten(model).tobytes()
    assert list(load_file(path)["0.weight"].shape) == [8, 1, 3, 3]


def test_export_model_in_another_process_gives_equal_bytes(tmp_path):
    program = (
        "import sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path; import numpy as np\n"
        "from wardround.learning.export import export_model\n"
        "from wardround.protocol.layout import Layout\n"
        "export_model(np.ones(3, np.float32), Layout(('x',), ((3,),)), Path(sys.argv[1]),\n"
        "             {k: k for k in 'qwertyuiop'})\n"
    )
    paths = [tmp_path / "1.safetensors", tmp_path / "2.safetensors"]
    for path in paths:
        root = Path(__file__).parents[2]
        subprocess.run([sys.executable, "-c", program, path], check=True, timeout=60, cwd=root)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_export_model_when_length_differs_writes_nothing(tmp_path):
    with pytest.raises(ProtocolError):
        export_model(WEIGHTS[:-1], LAYOUT, tmp_path / "m.safetensors", {})
    assert list(tmp_path.iterdir()) == []
