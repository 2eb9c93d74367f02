"""``python -m wardround_simulations.live.chain FOLDER PORT GENESIS``: a network's chain.

A chain that is there already goes on from its journal, so this may be killed and started again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from wardround.devchain.durable_anvil import DurableAnvil
from wardround.devchain.evm import Genesis
from wardround.host.log import configure
from wardround.protocol.errors import WardroundError
from wardround.transport.supervision import stop_asked


def genesis_text(chain_id: int, timestamp: int, balances: Mapping[str, int]) -> str:
    """Write down what a new chain starts from."""
    amounts = {address: str(balance) for address, balance in balances.items()}
    return json.dumps({"chain_id": chain_id, "timestamp": timestamp, "balances": amounts})


def read_genesis(text: str) -> Genesis:
    """Read what `genesis_text` wrote."""
    value = json.loads(text)
    balances = {address: int(amount) for address, amount in value["balances"].items()}
    return Genesis(value["chain_id"], value["timestamp"], balances)


def main(folder: Path, port: int, genesis: str) -> None:
    """Keep a chain until asked to end."""
    with stop_asked() as stopped, DurableAnvil(folder, read_genesis(genesis), port=port) as chain:
        configure(folder, "chain").info(
            f"chain {chain.genesis.chain_id} at {chain.url}, {chain.restarts} restarts"
        )
        stopped.wait()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    except WardroundError as error:
        configure(Path(sys.argv[1]), "chain").error(error)
        sys.exit(1)
