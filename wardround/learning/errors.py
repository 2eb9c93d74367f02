"""Errors of learning.

WardroundError
└── LearningError             a network that cannot be federated, weights that diverge, or terms of
    │                         privacy that training would break
    └── DataError             rows that cannot be used, or a file of them that cannot be fetched
"""

from __future__ import annotations

from wardround.protocol.errors import WardroundError


class LearningError(WardroundError):
    """A network, weights or terms of privacy with which a site cannot train or measure."""

    code = "learning"


class DataError(LearningError):
    """Rows that cannot be used, or a file of them that cannot be fetched."""

    code = "data"


def download_failed(url: str, reason: str) -> DataError:
    """A data file could not be fetched."""
    return DataError(
        f"could not download {url} ({reason}): try again, or fetch it by hand and name "
        "its folder with --data-dir or WARDROUND_DATA_DIR."
    )


def file_altered(path: str, expected: str, found: str) -> DataError:
    """A data file has not the digest that this version knows."""
    return DataError(
        f"{path} is altered: expected SHA-256 {expected}, found {found}; "
        "replace it with the original file."
    )


def no_table(what: str, reason: str) -> DataError:
    """Arrays, or a file of them, are not a site's table."""
    return DataError(
        f"{what} is no table ({reason}): give finite float32 features of shape (n, ...) "
        "and int64 labels of shape (n,)."
    )


def no_rows(what: str) -> DataError:
    """There are no rows to learn from, or to measure on."""
    return DataError(f"{what} has no rows: give the site at least one example.")


def no_split(sites: int, rows: int, reason: str) -> DataError:
    """Rows cannot be divided over the sites as asked."""
    return DataError(
        f"cannot divide {rows} rows over {sites} sites ({reason}): "
        "use fewer sites, a larger alpha, or a smaller minimum."
    )


def no_model(name: str, reason: str) -> LearningError:
    """A study's own file does not give a network."""
    return LearningError(
        f"{name} gives no model ({reason}): its factory takes the study's model arguments and "
        "returns a torch.nn.Module."
    )


def unsuitable(name: str, reason: str) -> LearningError:
    """Parameters or outputs have a form that cannot be federated."""
    return LearningError(
        f"model {name} cannot be used ({reason}): it needs float32 parameters on the CPU and "
        "one logit (two classes) or one logit a class for each row."
    )


def no_gradient_by_row(model: str, reason: str) -> LearningError:
    """The network's gradient cannot be had row by row."""
    return LearningError(
        f"model {model} gives no gradient for each row ({reason}): build it of layers that "
        "Opacus knows, every parameter used."
    )
