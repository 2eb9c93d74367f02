"""What is used of Flower's inside, and why. A release that moves one of these names fails here."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.test_layers import ROOT, sources_of

PUBLIC = ("app", "clientapp", "serverapp", "serverapp.strategy", "simulation", "common")
ONLY = Path("wardround/transport/flower")
BEYOND_THE_PRODUCT = ("tests/chaos", "benchmarks")
#: Carries messages between processes itself.
RIG = Path("tests/chaos/sites.py")

#: Module and name, parameters (None: it is no function), and why.
NAMES: dict[tuple[str, str], tuple[str | None, str]] = {
    # messages.py
    ("common.constant", "ErrorCode"): (None, "tells an offline node from a refusal"),
    ("common.serde", "message_to_proto"): ("message", "the chaos rig's own transport"),
    ("common.serde", "message_from_proto"): ("message_proto", "the chaos rig's own transport"),
    ("proto.message_pb2", "Message"): (None, "the chaos rig's own transport"),
    ("supercore.constant", "FLEET_HTTP_PUBLIC_KEY_HEADER"): (
        None,
        "the door rejects unknown node keys before the SuperLink sees them",
    ),
    # node_signature.py: the door checks a node's signature before it reads a body
    ("common.constant", "TIMESTAMP_HEADER"): (None, "the time that a node signs"),
    ("common.constant", "TIMESTAMP_TOLERANCE"): (None, "as long as the SuperLink takes it"),
    ("common.constant", "SYSTEM_TIME_TOLERANCE"): (None, "as early as the SuperLink takes it"),
    ("supercore.constant", "FLEET_HTTP_SIGNATURE_HEADER"): (None, "the signature of that time"),
    ("supercore.primitives.asymmetric", "bytes_to_public_key"): (
        "public_key_bytes",
        "the key of that signature",
    ),
    ("supercore.primitives.asymmetric", "verify_signature"): (
        "public_key message signature",
        "checks that signature as the SuperLink does",
    ),
    # identity.py: a federation in one process
    ("app.message", "make_message"): ("metadata content error", "Message() draws new metadata"),
    ("clientapp.client_app", "LoadClientAppError"): (None, "raised by the public ClientApp"),
    ("common.constant", "SUPERLINK_NODE_ID"): (None, "no site may have the server's id"),
    ("server.superlink.linkstate.utils", "create_message_error_unavailable_ins_message"): (
        "reply_to_message_id run_id",
        "the same errors as over a SuperLink",
    ),
    ("server.superlink.linkstate.utils", "create_message_error_unavailable_res_message"): (
        "ins_metadata error_type",
        "the same errors as over a SuperLink",
    ),
    ("server.superlink.linkstate.utils", "message_ttl_has_expired"): (
        "message_metadata current_time",
        "the same errors as over a SuperLink",
    ),
    ("server.utils.validator", "validate_message"): (
        "message is_reply_message",
        "the same checks as over a SuperLink",
    ),
    ("supercore", "telemetry"): (None, "reads its setting when it is imported"),
    ("supercore.run", "Run"): (None, "a Grid holds its run"),
    ("supercore.task_identity", "TaskIdentity"): (None, "Message() reads the running task"),
    # control.py: the SuperLink's control interface, of which `flwr run` is the only public client
    ("common.serde", "fab_to_proto"): ("fab", "submits the study's bundle"),
    ("proto.control_pb2", "ListNodesRequest"): (None, "lists node keys"),
    ("proto.control_pb2", "ListRunsRequest"): (None, "reads a run's status"),
    ("proto.control_pb2", "RegisterNodeRequest"): (None, "registers node keys"),
    ("proto.control_pb2", "StartRunRequest"): (None, "submits the study's bundle"),
    ("proto.control_pb2", "StopRunRequest"): (None, "stops a run whose ServerApp died"),
    ("supercore.control", "ControlHttpClient"): (None, "the client itself"),
    ("supercore.fab", "Fab"): (None, "a bundle"),
    ("supercore.interceptors.http.runtime_version", "RuntimeVersionHttpInterceptor"): (
        None,
        "the SuperLink rejects clients of another version",
    ),
    ("supercore.run", "RunStatus"): (None, "a run's status"),
    # executor.py: fork for each task
    ("proto.runtime_pb2", "SendTaskHeartbeatRequest"): (None, "heartbeats that end no training"),
    ("supercore.cli.flower_superexec", "flower_superexec"): ("", "asks for tasks"),
    ("supercore.constant", "TaskType"): (None, "only ClientApps are run"),
    ("supercore.retry", "RetryInvoker"): (None, "its type"),
    ("supercore.superexec.executor", "ExecutionSpec"): (None, "a task"),
    ("supercore.superexec.executor", "LaunchResult"): (None, "what became of a task"),
    ("supercore.superexec.executor", "SubprocessExecutor"): (None, "the base of our executor"),
    ("supernode.runtime.run_clientapp", "run_clientapp"): (
        "runtime_api_address token insecure certificates parent_pid runtime_dependency_install",
        "runs a task in the fork",
    ),
    ("supercore.superexec.run_superexec", "make_simple_http_retry_invoker"): (
        "",
        "patched: pauses of 1 s in place of 20 s; no setting changes them",
    ),
    ("supercore.superexec.run_superexec", "get_executor"): (
        "executor_type executor_config insecure root_certificates_path",
        "patched: `--executor` takes only Flower's own kinds",
    ),
    ("supernode.runtime.run_clientapp", "get_load_client_app_fn"): (
        "default_app_ref app_path multi_app",
        "a site runs its own installation's ClientApp, and none from a bundle",
    ),
    ("supernode.runtime.run_clientapp", "install_from_fab"): (
        "fab_file install_dir skip_prompt",
        "patched: a task unpacks no bundle; nothing reads what is in it",
    ),
    ("supernode.runtime.run_clientapp", "make_task_heartbeat_fn_http"): (
        "client",
        "patched: Flower's ends the training when the SuperNode restarts",
    ),
    ("supernode.runtime.run_clientapp", "make_simple_http_retry_invoker"): (
        "",
        "patched: Flower's interrupts the process at the first 401",
    ),
    # replies.py: a grid that bounds replies; intake.py: what the SuperLink takes
    ("superlink.grid.http_grid", "HttpGrid"): (
        "runtime_api_address insecure root_certificates token",
        "the grid that a ServerApp is given, whose replies are bounded",
    ),
    ("app.message.arraychunk", "ArrayChunk"): (None, "a part of a vector"),
    ("proto.message_pb2", "ConfirmMessageReceivedRequest"): (None, "frees a reply's objects"),
    ("proto.message_pb2", "PullObjectRequest"): (None, "pulls one object of a reply"),
    ("proto.runtime_pb2", "PullAppMessagesRequest"): (None, "asks for one reply"),
    ("supercore.constant", "SYSTEM_MESSAGE_TYPE"): (None, "Metadata takes no other empty type"),
    ("supercore.inflatable.inflatable_object", "get_object_body"): (
        "object_content cls",
        "reads an object of a reply",
    ),
    ("supercore.inflatable.inflatable_object", "get_object_children_ids_from_object_content"): (
        "object_content",
        "reads an object of a reply",
    ),
    ("proto.message_pb2", "ObjectTree"): (None, "a node announces one"),
    ("supercore.inflatable.inflatable_object", "iterate_object_tree"): (
        "tree",
        "checks what a node announces",
    ),
    ("supercore.object_store.in_memory_object_store", "InMemoryObjectStore"): (
        "verify",
        "the base of our store",
    ),
    ("supercore.object_store.object_store_factory", "InMemoryObjectStore"): (
        "verify",
        "patched: an object has the same children at every mention",
    ),
    ("supercore.inflatable.inflatable_object", "is_valid_sha256_hash"): (
        "object_id",
        "checks what a node announces",
    ),
    ("server.superlink.linkstate.in_memory_linkstate", "InMemoryLinkState"): (
        "federation_manager object_store",
        "the base of our state",
    ),
    ("server.superlink.linkstate.linkstate_factory", "InMemoryLinkState"): (
        "federation_manager object_store",
        "patched: nothing is kept of a question that has ended",
    ),
    ("superlink.servicer.runtime.runtime_handlers", "confirm_message_received"): (
        "request state task",
        "patched: ends a question, too",
    ),
    ("superlink.servicer.fleet.fleet_handlers", "push_messages"): (
        "request state",
        "patched: a node sends only its own replies",
    ),
    ("supercore.corestate.in_memory_corestate", "HEARTBEAT_DEFAULT_INTERVAL"): (
        None,
        "patched: 180 s in place of 30 s for a task to start; no setting changes it",
    ),
    # apis.py: requests pass only what their own interface needs
    ("superlink.main", "_get_middleware"): (
        "",
        "patched: around the layers that are only for another interface",
    ),
    # waiting.py: held answers and quick looks in place of sleeps
    ("superlink.extensions", "get_middleware"): (
        "",
        "patched: the SuperLink holds its empty answers",
    ),
    ("superlink.servicer.fleet.fleet_handlers", "push_object"): (
        "request state",
        "patched: tells a ServerApp that a reply is whole",
    ),
    ("superlink.servicer.runtime.runtime_handlers", "push_object"): (
        "request state task",
        "patched: tells nodes that a message is whole",
    ),
    ("supernode.main", "create_app"): (
        "state_factory superexec_auth_secret",
        "patched: the SuperNode holds its empty answers",
    ),
    ("supernode.start_client_internal", "time"): (
        None,
        "patched: it wakes when a task answers, in place of every 0.5 s; no setting changes it",
    ),
    ("supernode.start_client_internal", "pull_objects"): (
        "object_ids pull_object_fn max_concurrent_pulls max_time max_tries_per_object "
        "initial_backoff backoff_cap",
        "patched: looks again after 0.02 s in place of 1 s, and tells the executor of its task",
    ),
    ("supernode.runtime.run_clientapp", "pull_and_inflate_object_from_tree"): (
        "object_tree pull_object_fn confirm_object_received_fn return_type max_concurrent_pulls "
        "max_time max_tries_per_object initial_backoff backoff_cap",
        "patched: looks again after 0.02 s in place of 1 s",
    ),
    # programs.py, supernode.py, superlink.py
    ("supercore.retry", "exponential"): (
        "base_delay multiplier max_delay",
        "pauses with a lower cap",
    ),
    ("supernode.cli.flower_supernode", "flower_supernode"): ("", "the SuperNode"),
    ("superlink.cli.flower_superlink", "flower_superlink"): ("", "the SuperLink"),
    # fleet.py: between the SuperNode and the coordinator
    ("supercore.error", "ApiErrorCode"): (None, "node still active: retry"),
    ("supercore.error", "FlowerError"): (None, "node still active: retry"),
    ("supercore.primitives.asymmetric_ed25519", "create_message_to_sign"): (
        "fab_digest timestamp",
        "what `--trusted-entities` verifies",
    ),
    ("supercore.retry", "RetryState"): (None, "node still active: retry"),
    ("supercore.retry", "constant"): ("interval", "node still active: retry"),
    ("supercore.run", "RunNotRunningException"): (None, "drops a message of a foreign run"),
    ("supernode.start_client_internal", "http_request_response"): (
        "server_address insecure root_certificates authentication_keys max_retries max_wait_time",
        "patched: every bundle and run is checked where it arrives",
    ),
    ("supernode.fleet_http_connection", "FleetHttpClient"): (
        None,
        "patched: bounded answers, no redirects, retried activation",
    ),
    ("supernode.fleet_http_connection", "HEARTBEAT_DEFAULT_INTERVAL"): (
        None,
        "patched: 10 s in place of 30 s; no setting changes it",
    ),
    ("supercore.heartbeat", "HEARTBEAT_DEFAULT_INTERVAL"): (None, "patched: as above"),
    ("supernode.fleet_http_connection", "make_simple_http_retry_invoker"): (
        "",
        "patched: pauses of 3 s in place of 20 s; no setting changes them",
    ),
}


def is_private(module: str) -> bool:
    name = module.removeprefix("flwr").removeprefix(".")
    return module.split(".")[0] == "flwr" and name not in PUBLIC


def used_in(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Name what a file imports of Flower's private modules, or reaches through `vars`."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and is_private(node.module):
            yield from ((node.module, alias.name) for alias in node.names)
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if is_private(alias.name))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            name = ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else ""
            if is_private(name):
                modules[ast.unparse(node)] = name
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.value) in modules:
            modules[ast.unparse(node.targets[0])] = modules[ast.unparse(node.value)]
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple):
            # for module in (connection, importlib.import_module("...")):
            for one in node.iter.elts:
                if ast.unparse(one) in modules:
                    yield from (
                        (modules[ast.unparse(one)], name)
                        for name in subscripts(node, ast.unparse(node.target))
                    )
    for variable, module in modules.items():
        yield from ((module, name) for name in subscripts(tree, variable))


def subscripts(tree: ast.AST, variable: str) -> Iterator[str]:
    """Names in `vars(variable)["name"]`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == f"vars({variable})":
            yield ast.literal_eval(node.slice)


def uses() -> Iterator[tuple[Path, tuple[str, str]]]:
    beyond = (p.relative_to(ROOT) for f in BEYOND_THE_PRODUCT for p in (ROOT / f).rglob("*.py"))
    for path in (*sources_of(ROOT), *beyond):
        for module, name in used_in(ast.parse((ROOT / path).read_text("utf-8"))):
            yield path, (module.removeprefix("flwr."), name)


def test_only_one_folder_touches_the_inside_of_flower() -> None:
    assert {str(path) for path, _ in uses() if path.parent != ONLY and path != RIG} == set()


def test_every_private_name_is_listed_with_its_reason() -> None:
    assert {name for _, name in uses()} == set(NAMES)
    assert all(reason for _, reason in NAMES.values())


@pytest.mark.parametrize("name", NAMES, ids=".".join)
def test_flower_still_has(name: tuple[str, str]) -> None:
    module, attribute = name
    found: Any = vars(importlib.import_module(f"flwr.{module}"))[attribute]
    expected = NAMES[name][0]
    if expected is not None:
        assert " ".join(inspect.signature(found).parameters) == expected


def test_the_signature_of_what_is_subclassed() -> None:
    from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
    from flwr.supercore.superexec.executor import SubprocessExecutor
    from flwr.supernode.fleet_http_client import FleetHttpClient

    assert " ".join(inspect.signature(SubprocessExecutor.launch).parameters) == "self spec"
    assert "request" in inspect.signature(FleetHttpClient.ActivateNode).parameters
    for method, parameters in {
        InMemoryLinkState.delete_messages: "self message_ins_ids",
        InMemoryLinkState.store_message_and_object_tree: "self message object_tree session_id",
        InMemoryLinkState.get_object: "self run_id object_id",
        InMemoryLinkState.store_object: "self run_id session_id object_id object_content",
        InMemoryLinkState._cleanup_push_session: "self session_id cleanup_messages",
    }.items():
        assert " ".join(inspect.signature(method).parameters) == parameters


def test_the_supernode_takes_nothing_of_time_but_to_sleep() -> None:
    """Because `waiting.Clock` has no more."""
    source = inspect.getsource(importlib.import_module("flwr.supernode.start_client_internal"))
    taken = {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "time"
    }
    assert taken == {"sleep"}


BROKEN = """
import importlib
from flwr.app import Message
from flwr.supercore.run import Run
import flwr.server.app
one = importlib.import_module("flwr.supernode.one")
vars(one)["patched"] = vars(one)["read"]
for module in (one, importlib.import_module("flwr.supernode.two")):
    vars(module)["both"] = 1
"""


def test_imports_and_patches_are_noticed() -> None:
    assert set(used_in(ast.parse(BROKEN))) == {
        ("flwr.supercore.run", "Run"),
        ("flwr.server.app", ""),
        ("flwr.supernode.one", "patched"),
        ("flwr.supernode.one", "read"),
        ("flwr.supernode.one", "both"),
        ("flwr.supernode.two", "both"),
    }
