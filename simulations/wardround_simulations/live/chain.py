"""``python -m wardround_simulations.live.chain FOLDER PORT GENESIS``: a network's chain.

A chain that is there already goes on from its journal, so this may be killed and started again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from wardround.devchain.durable_anvil import DurableAnvil
from wardround.devchain.evm import Genesis
from wardround.host.log import configure
from wardround.protocol.errors import WardroundError
from wardround.transport.supervision import stop_asked


def main(folder: Path, port: int, genesis: Genesis) -> None:
    """Keep a chain until asked to end."""
    with stop_asked() as stopped, DurableAnvil(folder, genesis, port=port) as chain:
        configure(folder, "chain").info(
            f"chain {chain.genesis.chain_id} at {chain.url}, {chain.restarts} restarts"
        )
        stopped.wait()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), Genesis(**json.loads(sys.argv[3])))
    except WardroundError as error:
        configure(Path(sys.argv[1]), "chain").error(error)
        sys.exit(1)
