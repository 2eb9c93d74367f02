"""``wardround chain ...``: money and time on a development chain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wardround.chain.amounts import amount_of, tokens_of
from wardround.chain.chain import connected
from wardround.chain.options import ChainOption, JsonOption, print_sent
from wardround.chain.study_token import StudyToken
from wardround.devchain.faucet import ETHER, fund, require_dev_chain
from wardround.host.commands import Commands
from wardround.host.key_file import read_key
from wardround.host.screen import Screen
from wardround.protocol.identifiers import address_of

app = Commands(epilog="A development chain with a whole network: wardround network up")
_out = Screen(highlight=False, soft_wrap=True)


@app.command("fund")
def fund_(
    address: Annotated[str, typer.Argument(help="The account that gets it.")],
    chain: ChainOption,
    ether: Annotated[
        int, typer.Option(min=0, max=10**6, help="How much of the chain's currency.")
    ] = 10,
    tokens: Annotated[
        str, typer.Option(help="How many of a study's tokens, as 500 or 0.5; needs --token.")
    ] = "0",
    token: Annotated[
        str | None, typer.Option(help="Address of the token, as `study create` printed it.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Key of the account that gives: for tokens, the sponsor's.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Give an account currency for gas, and tokens, on a development chain (id 31337).

    Currency comes from the chain's faucet, or with --key from that account. Tokens come from the
    account that holds them.

    Examples:
      wardround chain fund 0xabcd… --chain http://127.0.0.1:8545

      wardround chain fund 0xabcd… --chain … --ether 0 --tokens 500 --token 0x1234…
      --key sponsor.key
    """
    to, giver = address_of(address), None if key is None else read_key(key)
    some = bool(tokens.strip("0."))
    if some and (token is None or giver is None):
        raise typer.BadParameter("--tokens needs --token, and --key of an account that holds some")
    if token is not None and not some:
        raise typer.BadParameter("--token needs --tokens above 0: how many of it are to be given")
    if not some and not ether:
        raise typer.BadParameter("nothing is to be given: name --ether or --tokens above 0")
    with connected(chain) as opened:
        require_dev_chain(opened)
        if ether:
            receipt = (
                fund(opened, to, ether * ETHER)
                if giver is None
                else opened.transfer(giver, to, ether * ETHER)
            )
            held = opened.balance_wei(to)
            words = f"{to} holds {held / ETHER:,.4f} of the chain's currency"
            if receipt is not None or as_json:
                print_sent(receipt, words, as_json=as_json, address=to, balance=str(held))
            else:
                _out.print(words)  # anvil set the balance, without a transaction
        if some and token is not None and giver is not None:
            money = StudyToken(opened, address_of(token))
            decimals = money.decimals()
            try:
                amount = amount_of(tokens, decimals)
            except ValueError as error:
                raise typer.BadParameter(str(error)) from error
            money.require(giver.address, amount)
            receipt = money.transfer(giver, to, amount)
            held = money.balance_of(to)
            words = f"{to} holds {tokens_of(held, decimals)} tokens"
            print_sent(receipt, words, as_json=as_json, address=to, tokens=str(held))


@app.command()
def advance(
    seconds: Annotated[int, typer.Argument(min=1, max=10**9, help="How far.")], chain: ChainOption
) -> None:
    """Move a development chain's clock on, for instance past a challenge window.

    Example:
      wardround chain advance 86400 --chain http://127.0.0.1:8545
    """
    with connected(chain) as opened:
        require_dev_chain(opened)
        opened.advance(seconds)
        _out.print(f"the chain's clock is at {opened.timestamp()}, {seconds:,} s later")
