"""``[data]`` of ``site.toml``: where the table is, what is in it, and how it is divided."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from wardround_client.sources.csv import CsvSource
from wardround_client.sources.parquet import ParquetSource
from wardround_client.sources.schema import TableSchema
from wardround_client.sources.sql import SqlSource

Source = Annotated[CsvSource | ParquetSource | SqlSource, Field(discriminator="type")]


class DataSettings(TableSchema):
    """The whole of ``[data]``."""

    #: What the site calls its table.
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    source: Source
    #: Share of rows that are held back to measure on.
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    #: Of the division into training and test rows.
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    min_rows: Annotated[int, Field(ge=2)] = 20
    max_rows: Annotated[int, Field(ge=2, le=100_000_000)] = 1_000_000
