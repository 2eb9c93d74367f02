"""``coordinator.toml``: what a coordinator's administrator writes down."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

from pydantic import Field

from wardround.chain.ward_round import WardRound
from wardround.protocol.documents import Form, decode_text, parse_toml, validate_form
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import StudyId, bytes32
from wardround.protocol.report import Hex32, WrittenAddress

COORDINATOR_FILE = "coordinator.toml"
PRESENCE_FILE = "logs/serverapp.lock"
#: Names the folder of a coordinator to its ServerApp, which the SuperLink starts.
HOME_VARIABLE = "WARDROUND_COORDINATOR"
#: Set for a coordinator that is a standby, as with `standby` in its settings.
STANDBY_VARIABLE = "WARDROUND_STANDBY"


class CoordinationTable(Form):
    """``[coordinator]``: the key that closes rounds, the store, and where progress is noted."""

    key_file: str
    store: str
    rounds_file: str
    #: How long a site may take to answer.
    reply_seconds: Annotated[float, Field(gt=0)] = 3600.0
    #: How long a site that is away is asked again, and waited for before the first round.
    retry_seconds: Annotated[float, Field(ge=0)] = 60.0
    #: Wait for one's turn while another coordinator is active.
    standby: bool = False
    #: How long chain, store or disk may be away before the coordinator gives up.
    patience_seconds: Annotated[float, Field(ge=0)] = 600.0
    #: How often a round with too few good contributions is tried again.
    attempts: Annotated[int, Field(ge=1)] = 3


class CoordinatedStudyTable(Form):
    """``[study]``: the study to coordinate."""

    chain: str
    chain_id: Annotated[int, Field(ge=1, lt=2**53)]
    contract: WrittenAddress
    id: Hex32
    #: How many nodes to wait for before the first round.
    sites: Annotated[int, Field(ge=1)]

    def opened(self) -> AbstractContextManager[WardRound]:
        """Open the contract that has the study."""
        return WardRound.at(self.chain, self.chain_id, self.contract)


class ServerTable(Form):
    """``[server]``: where sites reach this coordinator, when they are processes of their own."""

    #: Address to listen on; 0.0.0.0 for every one of this machine.
    host: str
    port: Annotated[int, Field(ge=1, le=65_535)]
    #: Names and addresses under which the sites reach it; they go into its certificate.
    names: Annotated[list[str], Field(min_length=1, max_length=32)]
    #: The longest message that a site may send; the ServerApp reads 32 MB at once.
    max_message_megabytes: Annotated[int, Field(ge=1, le=30)] = 8


class CoordinatorSettings(Form):
    """A coordinator's settings; relative paths start at the folder of the file."""

    coordinator: CoordinationTable
    study: CoordinatedStudyTable
    server: ServerTable | None = None

    @property
    def study_id(self) -> StudyId:
        """The study as bytes."""
        return StudyId(bytes32(self.study.id, "study"))

    def require_server(self) -> ServerTable:
        """Where sites reach it.

        Raises:
            SpecificationError: a simulation's coordinator has none.
        """
        if self.server is None:
            reason = "this table is missing: make the folder with `wardround coordinator init`"
            raise SpecificationError(COORDINATOR_FILE, reason, key="server")
        return self.server


def load_coordinator_settings(folder: Path) -> CoordinatorSettings:
    """Read a coordinator's settings.

    Raises:
        SpecificationError: no such file, not TOML, an unknown key or a bad value; with its line.
    """
    path = folder / COORDINATOR_FILE
    if not path.is_file():
        reason = f"{COORDINATOR_FILE} is missing: make the folder with `wardround coordinator init`"
        raise SpecificationError(folder, reason)
    text = decode_text(path.read_bytes(), str(path))
    return validate_form(CoordinatorSettings, parse_toml(text, str(path)), text, str(path))
