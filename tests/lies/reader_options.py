"""Options of the commands of readers and auditors, and of researchers."""

from __future__ import annotations

from tests.lies.options import (
    AS_JSON,
    NOWHERE,
    OTHER_ADDRESS,
    OTHER_STUDY,
    DoesOtherwise,
    Probe,
    RefusedByName,
    TriedBy,
)

HAS_ALL = "a run's folder names its chain and store already"
#: Of a run's folder, which has all that names a study.
BY_FOLDER: dict[str, Probe] = {
    "run_or_study": RefusedByName(("elsewhere",), "network.json is missing"),
    "--rpc": RefusedByName((NOWHERE,), HAS_ALL),
    "--contract": RefusedByName((OTHER_ADDRESS,), HAS_ALL),
    "--chain-id": RefusedByName((7,), HAS_ALL),
    "--index": RefusedByName(("no-index",), "no-index"),
}
STORE: dict[str, Probe] = {"--store": RefusedByName(("elsewhere",), HAS_ALL)}
OVER: dict[str, Probe] = {"--confirmations": RefusedByName((3,), "leave --confirmations out")}
NO_GRANT: dict[str, Probe] = {
    "--reading-key": RefusedByName(("reader.key",), "nothing in its store is encrypted")
}
SERVED = TriedBy("tests/lies/test_reader_option_lies.py::test_options_of_what_is_served")
LEAKS = "tests/leak/test_commands.py::test_leak_"

OF_READERS: dict[str, dict[str, Probe]] = {
    "explore": {
        **BY_FOLDER,
        **STORE,
        **OVER,
        **NO_GRANT,
        "--from-block": RefusedByName((3,), HAS_ALL),
        "--port": RefusedByName((65_536,), "65536 is not in the range"),
        "--host": RefusedByName(("256.0.0.1",), "nothing can listen there"),
        "--browser": SERVED,
    },
    "watch": {
        **BY_FOLDER,
        **STORE,
        **OVER,
        "--once": TriedBy("tests/lies/test_reader_option_lies.py::test_options_of_a_live_study"),
    },
    "events": {
        **BY_FOLDER,
        **OVER,
        "--study": DoesOtherwise((OTHER_STUDY,), ""),
        "--site": RefusedByName(("nowhere",), "--site"),
        "--round": DoesOtherwise((2,), "RoundClosed"),
        "--name": RefusedByName(("Nothing",), "there is no event Nothing"),
        "--from-block": DoesOtherwise((18,), "RoundClosed"),
        "--to-block": DoesOtherwise((3,), ""),
        "--follow": RefusedByName((), "--follow: this run is over"),
        "--json": AS_JSON,
    },
    "export": {
        **BY_FOLDER,
        **STORE,
        **NO_GRANT,
        "-o": DoesOtherwise(("other.zip",), "other.zip"),
        "--round": RefusedByName((9,), "9"),
    },
    "show": {
        "run": RefusedByName(("elsewhere",), "store is missing"),
        "cid": RefusedByName(("bafybanana",), "bafybanana"),
        "--round": RefusedByName((9,), "round 9 was not closed"),
    },
    "leak": {
        "run": RefusedByName(("elsewhere",), "network.json is missing"),
        "--as": RefusedByName(("sponsor",), "choose reader or coordinator"),
        "--tables": RefusedByName(("elsewhere",), "no site's table is there"),
        **NO_GRANT,
        "--auc": RefusedByName((2,), "give an area from 0.5 to 1"),
        "--json": TriedBy(f"{LEAKS}when_the_order_is_secret_ends_with_0"),
    },
    "contract verify": {
        "contract": RefusedByName((OTHER_ADDRESS,), "there is no contract"),
        "--rpc": RefusedByName((NOWHERE,), "[chain-unreachable]"),
        "--chain-id": RefusedByName((7,), "chain 7"),
        "--creation": RefusedByName(("0x" + "12" * 32,), "0x1212"),
        "--keep": DoesOtherwise(("kept.json",), "kept in kept.json"),
        "--standard-json": DoesOtherwise(("sources",), "sources/WardRound.json"),
    },
    "verify-result": {
        "file": RefusedByName(("missing",), "missing"),
        "run": RefusedByName(("elsewhere",), "network.json is missing"),
        "--rpc": RefusedByName((NOWHERE,), "[chain-unreachable]"),
        "--json": AS_JSON,
    },
    "verify-file": {"file": RefusedByName(("missing",), "missing")},
    "cheating": {
        "--chain": RefusedByName(("nowhere",), "nowhere"),
        "--json": TriedBy(
            "tests/simulations/test_cheating.py"
            "::test_command_ends_with_nonzero_status_unless_all_is_good"
        ),
    },
}
