"""``wardround model ...``: take a study's model away as a file, and bind a file to the chain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from wardround.audit.audit import StudyAudit
from wardround.audit.commands import Where
from wardround.audit.finished import open_run
from wardround.audit.model_file import (
    RoundModel,
    read_model_file,
    round_model,
    study_layout,
    verify_model,
)
from wardround.audit.replayers import offered
from wardround.chain.options import study_of
from wardround.chain.ward_round import WardRound
from wardround.host.commands import Commands
from wardround.host.screen import Screen
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import StudyId, hex_of
from wardround.protocol.record import Closing
from wardround.store import Store

app = Commands(epilog="Start with: wardround model export runs/demo --out model.safetensors")
_out = Screen(highlight=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class StudyPlace(Where):
    """Where a model's study is: a run's folder, or chain, contract and store."""

    reading_key: Annotated[
        Path | None, typer.Option(help="For a run with an encrypted store: a key that has a grant.")
    ] = None

    @contextmanager
    def found(self, run_or_study: str) -> Iterator[tuple[WardRound, StudyId, Store]]:
        """Open a run's folder, or a study by its id.

        Raises:
            SpecificationError: an option is missing, or is one too many.
        """
        if run_or_study.startswith("0x") and not Path(run_or_study).is_dir():
            if self.reading_key is not None:
                reason = "with --store a reading key is '…&key=FILE' in the address"
                raise SpecificationError(run_or_study, reason)
            with self.opened(run_or_study) as opened:
                yield opened
            return
        self.leave_to(run_or_study)
        with open_run(Path(run_or_study), reading=self.reading_key) as run:
            yield run.contract, run.study, run.store


RunOrStudy = Annotated[
    str,
    typer.Argument(help="Folder of a run; or a study's id, with --rpc, --contract and --store."),
]


@app.command()
def export(
    run_or_study: RunOrStudy,
    place: StudyPlace,
    out: Annotated[Path, typer.Option(help="File to write, .safetensors by custom.")],
    round_number: Annotated[
        int | None, typer.Option("--round", min=1, help="Of this round; by default the last.")
    ] = None,
    as_recorded: Annotated[
        bool,
        typer.Option("--as-recorded", help="Take the rounds as recorded: recompute none of them."),
    ] = False,
) -> None:
    """Write the model of a closed round, after an audit of all rounds up to it.

    The file names its chain, contract, study, round, root and layout; wardround model verify binds
    it to them again.

    Examples:
      wardround model export runs/demo --out model.safetensors

      wardround model export 0x5e1f… --rpc http://127.0.0.1:8545 --contract 0x1234… --store ./store
      --round 3 --out round-3.safetensors
    """
    with place.found(run_or_study) as (ward, study, store):
        work = StudyAudit(ward, study, store, last_round=round_number)
        if not work.closed or round_number not in (None, work.closed[-1].round):
            raise SpecificationError(
                run_or_study,
                f"round {round_number or 1} was not closed; closed are {work.rounds_closed}",
            )
        closed = work.closed[-1]
        model = round_model(work.facts, work.spec, closed.round, closed.closing.record, store)
        layout = study_layout(work.spec, store)
        if not as_recorded:
            for audited in work.rounds(offered(store)):
                _out.print(f"round {audited.closed.round}: recomputed, equal")
        model.write(out, layout)
        _describe(out, ward, model, closed.closing)
        if as_recorded:
            _out.print("The rounds are taken as recorded: wardround audit recomputes them.")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A file that wardround model export wrote.")],
    run_or_study: Annotated[
        str | None,
        typer.Argument(
            help="Folder of a run; or a study's id, by default the file's, with --rpc, --contract "
            "and --store."
        ),
    ] = None,
    *,
    place: StudyPlace,
) -> None:
    """Bind a model's file to a closed round on chain; end with 0 only if each byte is that round's.

    The file's chain, contract, study, round and root must be the chain's, its tensors those of the
    stored vector with that root, in the study's layout and scale. Rounds are taken as recorded.

    Examples:
      wardround model verify model.safetensors runs/demo

      wardround model verify model.safetensors --rpc http://127.0.0.1:8545 --contract 0x1234…
      --store ./store
    """
    # Only an id is taken from the file: a path could lead to a folder that agrees with it.
    named = run_or_study or hex_of(study_of(read_model_file(file).stated("study")))
    with place.found(named) as (ward, study, store):
        model, closed = verify_model(file, ward, study, store)
        _describe(file, ward, model, closed.closing)
        _out.print("The rounds are taken as recorded: wardround audit recomputes them.")
        _out.print("The file is this round's model.", style="bold green")


def _describe(path: Path, ward: WardRound, model: RoundModel, closing: Closing) -> None:
    study = model.facts.study
    _out.show(f"{path}: {model.values.size:,} parameters")
    _out.print(f"study {hex_of(study)}")
    _out.print(f"round {model.round} of {ward.rounds_of(study)}, root {hex_of(model.record.model)}")
    if ward.is_final(study, model.round, closing):
        _out.print("final: no challenge can overturn this round")
    else:
        _out.print("not final: a challenge can still overturn this round", style="yellow")
