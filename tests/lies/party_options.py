"""Options of the commands of sponsors, coordinators, sites and networks."""

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

NO_ADDRESS, NO_KEY = (
    RefusedByName(("0x12",), "0x12"),
    RefusedByName(("missing.key",), "missing.key"),
)
NO_HOME = RefusedByName(("nowhere",), "nowhere")
IN_USE = RefusedByName(("in-use",), "in-use")
#: Of a node that is asked; a contract where there is none; another chain.
ON_CHAIN: dict[str, Probe] = {
    "--chain": RefusedByName((NOWHERE,), "[chain-unreachable]"),
    "--contract": RefusedByName((OTHER_ADDRESS,), "there is no contract"),
    "--chain-id": RefusedByName((7,), "chain 7"),
}
ASKED = {"--chain": ON_CHAIN["--chain"]}
SENT: dict[str, Probe] = {
    **ON_CHAIN,
    "study": RefusedByName((OTHER_STUDY,), "StudyUnknown"),
    "--key": NO_KEY,
    "--json": AS_JSON,
}
NO_CONTRACT = RefusedByName((OTHER_ADDRESS,), "there is no contract at 0x1212")
GRANTED: dict[str, Probe] = {
    **ASKED,
    "study": RefusedByName((OTHER_STUDY,), OTHER_STUDY),
    "--grants": NO_CONTRACT,
}
HOME: dict[str, Probe] = {"home": NO_HOME}
FOLDER: dict[str, Probe] = {"folder": NO_HOME}
PASSWORD: dict[str, Probe] = {"--password-file": RefusedByName(("missing",), "missing")}
PAYING: dict[str, Probe] = {
    **FOLDER,
    "study": RefusedByName((OTHER_STUDY,), "StudyUnknown"),
    "--key": NO_KEY,
    "--password-file": RefusedByName(("password",), "leave it or --key out"),
    "--json": AS_JSON,
}
SITE = "tests/client/test_site_commands.py::test_"
APPROVAL, HISTORY = f"{SITE}approve_when_", f"{SITE}history_when_"
POLICY = TriedBy(f"{SITE}policy_when_changed_counts_once_it_is_signed")

STANDBY = TriedBy(
    "tests/integration/test_standby_live.py"
    "::test_first_coordinator_when_it_is_back_ends_or_stands_by"
)
GIVEN = TriedBy("tests/lies/test_party_option_lies.py::test_network_is_given_what_is_asked")

OF_PARTIES: dict[str, dict[str, Probe]] = {
    "study keygen": {"file": IN_USE},
    "study create": {
        **ON_CHAIN,
        "file": RefusedByName(("missing.toml",), "missing.toml"),
        "--key": NO_KEY,
        "--coordinator": NO_ADDRESS,
        "--store": RefusedByName(("study.toml",), "study.toml"),
        "--token": RefusedByName((OTHER_ADDRESS,), "there is no ERC-20 token"),
        "--auditor": NO_ADDRESS,
    },
    "study fund": {**SENT, "tokens": RefusedByName(("-1",), "-1")},
    "study admit": {
        **SENT,
        "site": NO_ADDRESS,
        "--payout": NO_ADDRESS,
        "--max-weight": RefusedByName((0,), "0 is not in the range"),
    },
    "study remove": {**SENT, "site": NO_ADDRESS},
    "study open": SENT,
    "study end": SENT,
    "study refund": SENT,
    "grants deploy": {
        **{name: probe for name, probe in ON_CHAIN.items() if name != "--chain-id"},
        "--key": NO_KEY,
    },
    "grants give": {
        **GRANTED,
        "reader": NO_ADDRESS,
        "public_key": RefusedByName(("0x" + "00" * 32,), "is not one of X25519"),
        "--key": NO_KEY,
        "--store": RefusedByName(("whole",), "--store must begin with confidential:"),
    },
    "grants revoke": {**GRANTED, "reader": NO_ADDRESS, "--key": NO_KEY},
    "grants list": GRANTED,
    "coordinator init": {
        **ON_CHAIN,
        "home": IN_USE,
        "--study": RefusedByName((OTHER_STUDY,), "the chain has no such study"),
        "--host": RefusedByName(("no host",), "give a host's name"),
        "--port": RefusedByName((0,), "0 is not in the range"),
        "--listen": DoesOtherwise(("127.0.0.1",), ""),
        "--sites": RefusedByName((0,), "0 is not in the range"),
        "--key": NO_KEY,
        "--store": DoesOtherwise(("elsewhere",), ""),
    },
    "coordinator add-site": {**HOME, "enrolment": RefusedByName(("missing",), "missing")},
    "coordinator bond": {**HOME, "--json": AS_JSON},
    "coordinator release": {**HOME, "--json": AS_JSON},
    "coordinator renew": {**HOME, "--days": RefusedByName((0,), "0 is not in the range")},
    "coordinator run": {
        **HOME,
        "--standby": STANDBY,
        "--leave": STANDBY,
    },
    "store keygen": {"file": IN_USE},
    "store serve": {
        **ASKED,
        "store": RefusedByName(("ipfs://nowhere",), "is no store's address"),
        "--grants": NO_CONTRACT,
        "--index": RefusedByName(("in-use/file",), "in-use/file: File exists"),
        "--host": RefusedByName(("256.0.0.1",), "nothing can listen there"),
        "--port": RefusedByName((65_536,), "65536 is not in the range"),
    },
    "store repair": {"store": RefusedByName(("whole",), "name several stores")},
    "site init": {
        "folder": IN_USE,
        "--name": RefusedByName(("Mercy West",), "site.name"),
        "--endpoint": TriedBy(f"{SITE}init_when_options_are_given_writes_them"),
        "--chain-id": RefusedByName((0,), "0 is not in the range"),
        "--contract": NO_ADDRESS,
        **PASSWORD,
    },
    "site guard": {**FOLDER, **PASSWORD},
    "site run": {
        **FOLDER,
        **PASSWORD,
        "--store": TriedBy(
            "tests/client/test_site_ending.py"
            "::test_site_when_its_study_has_ended_reports_what_it_earned_and_how_to_claim"
        ),
        "--keep": TriedBy(
            "tests/client/test_site_ending.py::test_service_ends_with_its_studies_unless_it_is_kept"
        ),
    },
    "site approve": {
        **FOLDER,
        "study": RefusedByName((OTHER_STUDY,), "the chain has no such study"),
        "--store": RefusedByName(("elsewhere",), "is not in elsewhere"),
        "--spec": RefusedByName(("missing.toml",), "leave one of them out"),
        "--yes": TriedBy(f"{APPROVAL}refused_by_the_person_records_nothing"),
        "--password-file": TriedBy(f"{APPROVAL}the_password_is_wrong_records_nothing"),
    },
    "site revoke": {**FOLDER, "study": RefusedByName((OTHER_STUDY,), "is not approved here")},
    "site policy": {**FOLDER, "--yes": POLICY, "--password-file": POLICY},
    "site status": {**FOLDER, "--json": AS_JSON},
    "site history": {
        **FOLDER,
        "--store": TriedBy(f"{HISTORY}sites_are_not_on_chain_asks_the_store"),
        "--json": TriedBy(f"{HISTORY}rounds_are_closed_says_what_became_of_each"),
    },
    "site preview": FOLDER,
    "site claim": {
        **PAYING,
        # As of `claim`, where the chain has roots alone.
        "--store": TriedBy("tests/lies/test_option_lies.py::test_options_of_a_study_by_its_id"),
    },
    "site contribute": {
        **PAYING,
        "--key": TriedBy("tests/test_entry_points.py::test_commands_of_auditor_and_site"),
        "--store": RefusedByName(("elsewhere",), "elsewhere: it lacks the model"),
    },
    "site answer": {
        **PAYING,
        # Where nothing is demanded there is no object.
        "--json": DoesOtherwise((), ""),
        "--watch": TriedBy(
            "tests/integration/test_censorship.py::test_answering_site_goes_on_through_rounds_until_the_last_is_final"
        ),
    },
    "site payout": {
        **PAYING,
        "--to": NO_ADDRESS,
        "--sign": DoesOtherwise((), "0x"),
        "--signature": RefusedByName(("0xzz",), "--signature takes 0x"),
    },
    "network up": {
        "folder": IN_USE,
        "--data-dir": GIVEN,
        "--rounds": RefusedByName((0,), "0 is not in the range"),
        "--seed": RefusedByName((-1,), "-1 is not in the range"),
        "--confidential": GIVEN,
        "--scenario": RefusedByName(("nothing",), "nothing"),
        "--sites": RefusedByName((0,), "0 is not in the range"),
        "--standbys": RefusedByName((17,), "17 is not in the range"),
        "--keep": GIVEN,
    },
    "network status": {
        **FOLDER,
        "--json": TriedBy("tests/simulations/test_live.py::test_status_tells_who_runs"),
    },
    "network down": FOLDER,
    "chain fund": {
        **ASKED,
        "address": NO_ADDRESS,
        "--ether": RefusedByName((-1,), "-1 is not in the range"),
        "--tokens": RefusedByName(("5",), "--tokens needs --token"),
        "--token": RefusedByName((OTHER_ADDRESS,), "--token needs --tokens"),
        "--key": NO_KEY,
        "--json": AS_JSON,
    },
    "chain advance": {**ASKED, "seconds": RefusedByName((0,), "0 is not in the range")},
}
