"""How much an endpoint answers for at once, learned from what it refuses."""

from __future__ import annotations

#: Full answers before twice as much is tried for the first time: an endpoint's own number is
#: believed for longer than half of what it refused.
_TRIAL_OF_HALF, _TRIAL_OF_STATED = 8, 128


class Portion:
    """How much of something, blocks of logs or requests of a batch, goes into one request.

    There is no limit until something is refused. Then the endpoint's own number counts, or half of
    what was asked. Some limits are fixed, others depend on how much is found, so twice as much is
    tried now and then: each refusal doubles how many answers come before the next trial, and a
    trial that is answered is followed by another at once.
    """

    def __init__(self) -> None:
        self._most: int | None = None
        self._answers = 0
        self._trial_after = _TRIAL_OF_HALF

    def part_of(self, wanted: int) -> int:
        """How much to ask for, of what is wanted."""
        if self._most is None:
            return wanted
        return min(wanted, self._most if self._answers < self._trial_after else 2 * self._most)

    def answered(self, asked: int) -> None:
        """Remember that so much was answered for at once."""
        if self._most is None or asked < self._most:
            return
        if asked > self._most:
            self._most, self._answers, self._trial_after = asked, 0, 1
        else:
            self._answers += 1

    def refused(self, asked: int, stated: int | None) -> None:
        """Remember that so much, at least 2, was too much at once.

        Args:
            asked: how much was.
            stated: how much the endpoint states as its limit; None where it does not.
        """
        self._answers = 0
        if self._most is not None and asked > self._most:
            self._trial_after *= 2
        elif stated is not None:
            self._most, self._trial_after = stated, max(self._trial_after, _TRIAL_OF_STATED)
        else:
            self._most = (asked + 1) // 2
