"""Every error that learning raises on purpose, drawn as a tree.

WardroundError
└── LearningError
    ├── DataError                 rows that cannot be used
    │   ├── DataFileMissing       a file is not where it was said to be
    │   ├── DataFileAltered       a file has not the digest that this version knows
    │   ├── DownloadFailed        a file could not be fetched (retryable)
    │   ├── TableInvalid          arrays or a file that are no table of a site
    │   ├── EmptyTable            no rows
    │   ├── ClassOutOfRange       a label that the model has no output for
    │   ├── SplitImpossible       too few rows for that many sites
    │   ├── DatasetUnknown        no data set of that name
    │   └── DatasetArgumentInvalid
    ├── ModelError                a network that cannot be federated
    │   ├── ModelUnknown          neither a known name nor module:factory
    │   ├── ModelArgumentInvalid
    │   ├── ModelFactoryFailed    module:factory does not give a network
    │   ├── ModelHasBuffers       state beside the parameters, such as batch norm's
    │   └── ModelUnsuitable       parameters or outputs of a form we cannot use
    │       └── RowsUnsuitable    rows of another length than it takes
    ├── TrainingError             numbers that went wrong in training or evaluation
    │   ├── WeightsNotFinite      NaN or infinity among the weights that were given
    │   ├── TrainingDiverged      NaN or infinity came out
    │   └── OutputNotFinite       the network answers NaN or infinity
    ├── ExportInvalid             a model file that does not fit its layout
    └── wardround.learning.privacy.errors   training that would not keep what was promised
"""

from __future__ import annotations

from collections.abc import Sequence

from wardround.protocol.errors import Retryable, WardroundError


class LearningError(WardroundError):
    """Root of what learning raises on purpose."""


class DataError(LearningError):
    """Rows that cannot be used."""


class DataFileMissing(DataError):
    """A data file is not where it was said to be."""

    def __init__(self, path: str, remedy: str) -> None:
        self.path = path
        self.remedy = remedy
        super().__init__(f"{path} is missing: {remedy}.")


class DataFileAltered(DataError):
    """A data file has not the digest that this version knows."""

    def __init__(self, path: str, expected: str, found: str) -> None:
        self.path = path
        self.expected = expected
        self.found = found
        super().__init__(
            f"{path} is altered: expected SHA-256 {expected}, found {found}; "
            "replace it with the original file."
        )


class DownloadFailed(DataError, Retryable):
    """A data file could not be fetched."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(
            f"could not download {url} ({reason}): try again, or fetch it by hand and name "
            "its folder with --data-dir or WARDROUND_DATA_DIR."
        )


class TableInvalid(DataError):
    """Arrays, or a file of them, are not a site's table."""

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        self.reason = reason
        super().__init__(
            f"{what} is no table ({reason}): give finite float32 features of shape (n, ...) "
            "and int64 labels of shape (n,)."
        )


class EmptyTable(DataError):
    """There are no rows to learn from, or to measure on."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} has no rows: give the site at least one example.")


class ClassOutOfRange(DataError):
    """A label names a class that the model has no output for."""

    def __init__(self, row: int, label: int, classes: int) -> None:
        self.row = row
        self.label = label
        self.classes = classes
        super().__init__(
            f"row {row} has label {label}, not in 0 .. {classes - 1}: "
            "correct the label or use a model with more classes."
        )


class SplitImpossible(DataError):
    """Rows cannot be divided over the sites as asked."""

    def __init__(self, sites: int, rows: int, reason: str) -> None:
        self.sites = sites
        self.rows = rows
        self.reason = reason
        super().__init__(
            f"cannot divide {rows} rows over {sites} sites ({reason}): "
            "use fewer sites, a larger alpha, or a smaller minimum."
        )


class DatasetUnknown(DataError):
    """No data set has that name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(f"no data set is named {name!r}: choose one of {', '.join(known)}.")


class DatasetArgumentInvalid(DataError):
    """A data set does not take such an argument."""

    def __init__(self, name: str, argument: str, reason: str) -> None:
        self.name = name
        self.argument = argument
        self.reason = reason
        super().__init__(f"data set {name}: argument {argument!r}: {reason}.")


class ModelError(LearningError):
    """A network that cannot be federated."""


class ModelUnknown(ModelError):
    """A name is neither that of a model nor of the form module:factory."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(
            f"no model is named {name!r}: choose one of {', '.join(known)}, "
            "or write package.module:factory."
        )


class ModelArgumentInvalid(ModelError):
    """A model does not take such an argument."""

    def __init__(self, name: str, argument: str, reason: str) -> None:
        self.name = name
        self.argument = argument
        self.reason = reason
        super().__init__(f"model {name}: argument {argument!r}: {reason}.")


class ModelFactoryFailed(ModelError):
    """``package.module:factory`` does not give a network."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(
            f"{name} gives no model ({reason}): name an importable callable that takes the "
            "study's model arguments and returns a torch.nn.Module."
        )


class ModelHasBuffers(ModelError):
    """A network keeps state beside its parameters."""

    def __init__(self, name: str, buffers: Sequence[str]) -> None:
        self.name = name
        self.buffers = tuple(buffers)
        super().__init__(
            f"model {name} keeps state beside its parameters ({', '.join(buffers)}), which no "
            "update would carry: use group or layer norm in place of batch norm."
        )


class ModelUnsuitable(ModelError):
    """Parameters or outputs have a form that cannot be federated."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(
            f"model {name} cannot be used ({reason}): it needs float32 parameters on the CPU and "
            "one logit (two classes) or one logit a class for each row."
        )


class RowsUnsuitable(ModelUnsuitable):
    """Rows have another number of features than the model takes."""

    def __init__(self, name: str, taken: int, found: int) -> None:
        self.taken = taken
        self.found = found
        self.name = name
        self.reason = f"rows of {taken} numbers, not {found}"
        ModelError.__init__(
            self,
            f"the study's model {name} takes {taken} features, and a row of this table has "
            f"{found}: declare the columns that the study asks for, or change the study's "
            f"[model] to take {found}.",
        )


class TrainingError(LearningError):
    """Numbers went wrong in training or evaluation."""


class WeightsNotFinite(TrainingError):
    """NaN or infinity stands among the weights that were given."""

    def __init__(self, index: int, value: float) -> None:
        self.index = index
        self.value = value
        super().__init__(f"weight {index} is {value!r}: start from finite weights.")


class TrainingDiverged(TrainingError):
    """Training ended in NaN or infinity."""

    def __init__(self, step: int, what: str, value: float) -> None:
        self.step = step
        self.what = what
        self.value = value
        super().__init__(f"{what} is {value!r} at step {step}: lower the learning rate.")


class OutputNotFinite(TrainingError):
    """The network answers a row with NaN or infinity."""

    def __init__(self, row: int) -> None:
        self.row = row
        super().__init__(f"the model's output for row {row} is not finite: use other weights.")


class ExportInvalid(LearningError):
    """A model file does not fit the layout it is read with."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} is not this study's model: {reason}.")
