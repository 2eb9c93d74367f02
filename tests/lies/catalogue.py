"""Every lie: a changed, signed again and hashed again variant of an honest study.

The coordinator is the liar, or a site together with it: it writes the store, signs with its own key
and closes on chain. Fields come from the schemas (`tests.lies.schemas`), values from
`tests.lies.values`; what must name each lie is in the tables of the modules that make them.

    for lie in LIES:
        with lie.study() as dishonest:
            dishonest.ward, dishonest.study, dishonest.store
"""

from __future__ import annotations

from tests.lies import code, documents, locks, registrations, rows, specifications, structures
from tests.lies.lie import Lie

LIES: tuple[Lie, ...] = (
    *documents.lies(),
    *specifications.lies(),
    *structures.lies(),
    *rows.lies(),
    *locks.lies(),
    *registrations.lies(),
    *code.lies(),
)
