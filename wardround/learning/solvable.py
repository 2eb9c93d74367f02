"""How many of a site's rows may be rebuilt from what a study publishes of its training, by count.

Each coordinate of a published update is one equation for the rows that it was made from. With as
many equations as numbers in the table, nothing but the difficulty of solving them protects a row:
a full batch gives smooth equations, which least squares solves; a secret order of rows makes them
hard to write down, but does not take one away. And single rows fall long before: a coordinator that
chooses the models, with a puppet site among the others, gets a row from the difference of two
updates, in any order and batch. So every study without noise can give rows away, as many as have
no more numbers than are published. `wardround leak` solves what it can.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from wardround.protocol.study import StudySpec

#: Noise that allows more over all rounds counts as none. At 10 a guess that was even may become
#: 99.995 %: the most for which protection is claimed at all (Ponomareva et al. 2023, How to DP-fy
#: ML, arXiv:2303.00654).
EPSILON_MAX = 10.0


@dataclass(frozen=True)
class Solvability:
    """How much a site's updates reveal, against how much there is to reveal.

    Attributes:
        equations: numbers that the whole study publishes of one site's training.
        unknowns: numbers in the site's training table.
        rows: of that table.
        full_batch: whether each step takes all rows, so that their order hides nothing.
        own_code: whether code of the study's own trains, which may write rows into its updates.
        epsilon: to which all rounds may bring the patient who gives most, with one replaced; None
            of a study without privacy.
    """

    equations: int
    unknowns: int
    rows: int
    full_batch: bool
    own_code: bool
    epsilon: float | None

    @property
    def private(self) -> bool:
        """Whether noise bounds what any number of equations reveals.

        Not with own code, which runs where the noise is added and can leave it out.
        """
        return self.epsilon is not None and self.epsilon <= EPSILON_MAX and not self.own_code

    @property
    def suffices(self) -> bool:
        """Whether a row can follow from what is published, so that a site accepts it by name."""
        return not self.private and (self.own_code or self.rows_at_risk > 0)

    @property
    def rows_at_risk(self) -> int:
        """How many rows have no more numbers than are published."""
        return min(self.rows, self.equations * self.rows // self.unknowns)

    @property
    def explanation(self) -> str:
        """The comparison as a sentence or two for the person who approves."""
        words = self._compared()
        if self.epsilon is not None and self.epsilon > EPSILON_MAX:
            words += (
                f" Its noise counts for none: over all rounds it allows epsilon {self.epsilon:,.5g}"
                f", and only up to {EPSILON_MAX:g} is a study called private."
            )
        return words

    def _compared(self) -> str:
        counted = (
            f"{self.equations:,} published numbers against {self.unknowns:,} unknown ones in the "
            "training table"
        )
        if self.private:
            assert self.epsilon is not None
            sure = 1 / (1 + math.exp(-self.epsilon))
            return (
                f"{counted}: noise keeps them from being solved. Over all rounds epsilon is at "
                f"most {self.epsilon:.3g}: whatever is tried on you, a guess about one patient "
                f"that was even becomes right with at most {sure:.3%}."
            )
        if self.own_code:
            return (
                f"{counted}: the study's own code could write up to {self.rows_at_risk:,} of your "
                f"{self.rows:,} rows there, number for number, and more with fewer digits."
            )
        if not self.suffices:
            return f"{counted}: fewer than a row has."
        if self.equations < self.unknowns:
            return (
                f"{counted}: up to {self.rows_at_risk:,} of your {self.rows:,} rows may be rebuilt."
                " A coordinator that chooses the models, with a site of its own, takes one from "
                "the difference of two updates."
            )
        if self.full_batch:
            return (
                f"{counted}: a reader of the updates can solve for the rows, because each step "
                "takes all of them."
            )
        return (
            f"{counted}: enough to solve for the rows; only the secret order of the rows makes "
            "that hard."
        )


def equations(parameters: int, rounds: int, *, losses: bool = False) -> int:
    """Count the numbers that readers see of one site's training.

    Args:
        losses: whether reports state the mean loss of a round.
        parameters: length P of an update, at least 1.
        rounds: rounds of the study, at least 1.
    """
    return (parameters + losses) * rounds


def unknowns(rows: int, features: int) -> int:
    """Count the numbers in a training table: each row has its features and one label.

    Args:
        rows: at least 1.
        features: numbers in one row, at least 1.
    """
    return rows * (features + 1)


def solvable(
    spec: StudySpec,
    *,
    parameters: int,
    rows: int,
    features: int,
    epsilon: float | None,
    losses: bool,
) -> Solvability:
    """Compare what a study publishes of a site with what the site has.

    A count, not a proof: equations may depend on each other, so that a study which is called
    solvable may keep its rows. It holds for one study; studies on one table add up.

    Args:
        spec: of the study; its updates are taken to be readable.
        parameters: length of an update.
        rows: of the site's training table.
        features: numbers in one row.
        epsilon: see `Solvability`.
        losses: whether the site's reports state its mean loss, which private training has none of.
    """
    batch, own_code = spec.training.batch_size, spec.model.is_own
    return Solvability(
        equations=equations(parameters, spec.study.rounds, losses=losses and spec.privacy is None),
        unknowns=unknowns(rows, features),
        rows=rows,
        full_batch=batch == 0 or batch >= rows,
        own_code=own_code,
        epsilon=epsilon,
    )
