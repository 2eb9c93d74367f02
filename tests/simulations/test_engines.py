import os
import subprocess
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity

from wardround_simulations import engines
from wardround_simulations.engines import (
    FlowerFailed,
    flwr_run,
    run_flower_simulation,
    run_in_process,
)

SITES = 4  # a power of two: the averages are exact, whatever the order of the replies


def averaging_apps(found):
    """Unmodified Flower apps; `found` receives the final model and what a site saw last."""
    client_app, server_app = ClientApp(), ServerApp()

    @client_app.train()
    def train(message, context):
        calls = context.state.get("calls", MetricRecord({"n": 0}))["n"] + 1
        context.state["calls"] = MetricRecord({"n": calls})
        (model,) = message.content["arrays"].to_numpy_ndarrays()
        step = context.run_config["step"] * context.node_config["partition-id"] * calls
        trained = ArrayRecord([(model + np.float32(step)).astype(np.float32)])
        metrics = {
            "num-examples": 2,
            "calls": calls,
            "sites": context.node_config["num-partitions"],
        }
        content = RecordDict({"arrays": trained, "metrics": MetricRecord(metrics)})
        return Message(content, reply_to=message)

    @server_app.main()
    def main(grid, context):
        while len(list(grid.get_node_ids())) < SITES:
            pass
        result = FedAvg(fraction_evaluate=0.0, min_available_nodes=SITES).start(
            grid,
            ArrayRecord([np.zeros(31, np.float32)]),
            num_rounds=context.run_config["rounds"],
        )
        found["model"] = result.arrays.to_numpy_ndarrays()[0].tobytes()
        found["metrics"] = dict(result.train_metrics_clientapp[context.run_config["rounds"]])

    return server_app, client_app


def failing_server():
    server_app = ServerApp()

    @server_app.main()
    def main(grid, context):
        raise LookupError("the server's own error")

    return server_app


def test_apps_find_the_run_configuration_in_process():
    found = {}
    run_in_process(*averaging_apps(found), [{}] * SITES, {"rounds": 2, "step": 0.5})
    # Round 1 adds 0.5 * mean(0, 1, 2, 3), round 2 twice that.
    np.testing.assert_array_equal(np.frombuffer(found["model"], np.float32), np.full(31, 2.25))
    assert found["metrics"] == {"calls": 2.0, "sites": 4.0}


def test_server_error_passes_unchanged_in_process():
    with pytest.raises(LookupError, match="the server's own error"):
        run_in_process(failing_server(), ClientApp(), [{}], {})


def test_identity_is_put_back_after_a_run():
    TaskIdentity.run_id = 77
    run_in_process(*averaging_apps({}), [{}] * SITES, {"rounds": 1, "step": 1.0}, run_id=5)
    assert TaskIdentity.run_id == 77


def test_missing_ray_is_named(monkeypatch):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FlowerFailed, match=r"ray is not installed.*wardround\[ray\]"):
        run_flower_simulation(*averaging_apps({}), SITES, {})
    with pytest.raises(FlowerFailed, match="not installed"):
        flwr_run(Path(), {}, num_supernodes=1)


def in_child(function, *arguments):
    """Call a function in a new process, for Ray leaves files and processes to the collector."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as child:
        return child.submit(function, *arguments).result(timeout=240)


def fail_under_ray():
    path_before = os.environ.get("PYTHONPATH")
    with pytest.raises(LookupError, match="the server's own error"):
        run_flower_simulation(failing_server(), ClientApp(), SITES, {})
    import ray

    return ray.is_initialized(), os.environ.get("PYTHONPATH") == path_before


@pytest.mark.deep
def test_server_error_passes_unchanged_under_ray_which_is_shut_down():
    """That a study runs under it too is in tests/integration/test_wheel.py."""
    assert in_child(fail_under_ray) == (False, True)


PYPROJECT = """
[project]
name = "ward"
version = "1.0.0"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "wardround"

[tool.flwr.app.components]
serverapp = "ward:server_app"
clientapp = "ward:client_app"

[tool.flwr.app.config]
out = ""
"""

APPS = """
import time
from flwr.app import Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

client_app = ClientApp()
server_app = ServerApp()

@client_app.query()
def query(message, context):
    place = MetricRecord({"partition": context.node_config["partition-id"]})
    return Message(RecordDict({"place": place}), reply_to=message)

@server_app.main()
def main(grid, context):
    while len(nodes := list(grid.get_node_ids())) < 2:
        time.sleep(0.05)
    asked = [Message(RecordDict(), node, "query") for node in nodes]
    places = sorted(r.content["place"]["partition"] for r in grid.send_and_receive(asked))
    print("places", places)
    raise LookupError("no rounds " + context.run_config["out"])
"""


@pytest.fixture
def app_dir(tmp_path):
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "ward.py").write_text(APPS)
    return folder


def processes_naming(text):
    listed = subprocess.run(["ps", "-ww", "-A", "-o", "args="], capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if text in line]


@pytest.mark.deep
def test_flwr_run_names_the_failure_of_the_app_and_leaves_nothing_behind(app_dir):
    """That a study runs under it too is in tests/integration/test_wheel.py."""
    lines = []
    with pytest.raises(FlowerFailed, match=r"finished:failed: .*no rounds with 'a space'"):
        flwr_run(app_dir, {"out": "with 'a space'"}, num_supernodes=2, on_line=lines.append)
    assert "places [0, 1]" in lines
    (port,) = {line.split("127.0.0.1:")[1].rstrip(")") for line in lines if "127.0.0.1:" in line}
    assert not processes_naming(port)


@pytest.mark.deep
def test_flwr_run_is_refused_when_a_key_is_unknown(app_dir):
    with pytest.raises(FlowerFailed, match="Invalid run configuration"):
        flwr_run(app_dir, {"unknown": 0}, num_supernodes=2)
