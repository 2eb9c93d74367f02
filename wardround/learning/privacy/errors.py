"""Every error of private training.

LearningError
└── PrivacyError              training that would not keep what was promised
    ├── SecretInvalid         a noise secret that is too short to be one
    ├── DeltaTooLarge         a delta with which one whole row might be published
    ├── PrivacyExhausted      another round would exceed the study's epsilon
    ├── RowsMixed             a network in which one row changes what another gives
    ├── NotPerRecord          a network whose gradient cannot be had row by row
    └── LossWithheld          the loss of a private training, which has no noise in it
"""

from __future__ import annotations

from wardround.learning.errors import LearningError


class PrivacyError(LearningError):
    """Training would not keep what was promised."""


class SecretInvalid(PrivacyError):
    """A noise secret is not of the length that makes it one."""

    def __init__(self, expected_bytes: int, found_bytes: int) -> None:
        self.expected_bytes = expected_bytes
        self.found_bytes = found_bytes
        super().__init__(
            f"a noise secret has {expected_bytes} random bytes, not {found_bytes}: "
            "let the site draw one."
        )


class DeltaTooLarge(PrivacyError):
    """With this delta a mechanism that publishes one whole row would pass for private."""

    def __init__(self, delta: float, rows: int) -> None:
        self.delta = delta
        self.rows = rows
        super().__init__(
            f"delta {delta:g} is not below 1 / {rows}, one over this site's rows: "
            "take part only in studies with a smaller delta."
        )


class PrivacyExhausted(PrivacyError):
    """The round would take the site past the study's epsilon."""

    def __init__(self, epsilon: float, target_epsilon: float, delta: float) -> None:
        self.epsilon = epsilon
        self.target_epsilon = target_epsilon
        self.delta = delta
        super().__init__(
            f"this round would bring the study to epsilon {epsilon:.3f} at delta {delta:g}, more "
            f"than the {target_epsilon:g} it allows: this site trains no further in it."
        )


class RowsMixed(PrivacyError):
    """One row changes what the network gives for another, so no row's share can be clipped."""

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(
            f"model {model} lets one row change what it gives for another: "
            "use group or layer norm in place of batch norm."
        )


class NotPerRecord(PrivacyError):
    """The network's gradient cannot be had row by row."""

    def __init__(self, model: str, reason: str) -> None:
        self.model = model
        self.reason = reason
        super().__init__(
            f"model {model} gives no gradient for each row ({reason}): build it of layers that "
            "Opacus knows, every parameter used."
        )


class LossWithheld(PrivacyError):
    """The training loss was asked for, but has no noise in it and so must not leave."""

    def __init__(self) -> None:
        super().__init__(
            "the loss of private training is withheld, because it is made from rows without "
            "noise: send `metrics` of the result instead."
        )
