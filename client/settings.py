"""``site.toml``: what a hospital's own administrator writes down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from protocol.identifiers import StudyId, bytes32
from protocol.report import Address, Hex32
from protocol.study import Table, decode_text, parse_toml, validate_table

SITE_FILE = "site.toml"


class SiteTable(Table):
    """``[site]``: who this is, and the file that holds its signing key."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    key_file: str


class StudyTable(Table):
    """``[study]``: the one study this site takes part in, on the one chain it believes."""

    chain: str
    chain_id: Annotated[int, Field(ge=1, lt=2**53)]
    contract: Address
    id: Hex32


class DataTable(Table):
    """``[data]``: the site's own tables, which never leave it."""

    train: str
    test: str


class SiteSettings(Table):
    """A site's settings; relative paths start at the folder of the file."""

    site: SiteTable
    study: StudyTable
    data: DataTable

    @property
    def study_id(self) -> StudyId:
        """The study as bytes."""
        return StudyId(bytes32(self.study.id, "study"))


def load_site_settings(folder: Path) -> SiteSettings:
    """Read a site's settings.

    Raises:
        SpecificationError: not TOML, an unknown key or a bad value; with its line.
    """
    path = folder / SITE_FILE
    text = decode_text(path.read_bytes(), str(path))
    return validate_table(SiteSettings, parse_toml(text, str(path)), text, str(path))
