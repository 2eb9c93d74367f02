"""A scenario: a study's specification, its data, its sites' policies, and who misbehaves.

The tables of a study file (``[study]``, ``[model]``, …) are beside ``[data]``, ``[policy.SITE]``
and ``[[behaviour]]``. The study's digest is taken over its own tables alone, so the same study may
be simulated with and without attackers.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from wardround.host.study_file import study_from_text
from wardround.protocol.documents import Form, decode_text
from wardround.protocol.errors import ScenarioError
from wardround.protocol.study import StudySpec
from wardround_client.settings import PolicyTable
from wardround_client.sources.schema import Range

Attack = Literal[
    "label_flip",
    "sign_flip",
    "scaled",
    "nan",
    "copied_update",
    "inflated_weight",
    "forged_signature",
]


#: What runs the apps: our Grid in this process, Flower's Simulation Runtime, or ``flwr run``.
Engine = Literal["in-process", "ray", "flwr"]


class DataSpec(Form):
    """``[data]``: a data set by name, and its arguments."""

    name: Annotated[str, Field(min_length=1)]
    arguments: dict[str, Any] = Field(default_factory=dict)
    #: Each site moves features beyond it to its ends, and declares it; private studies need it.
    range: Range | None = None


class Behaviour(Form):
    """``[[behaviour]]``: what one site does that an honest one does not."""

    site: Annotated[str, Field(min_length=1)]
    attack: Attack | None = None
    #: Multiplies the update of ``sign_flip`` and ``scaled``, and the weight of
    #: ``inflated_weight``.
    factor: Annotated[int, Field(ge=1, le=10**6)] = 10
    #: Rounds in which the site is not there at all.
    absent: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _does_something(self) -> Behaviour:
        if self.attack is None and not self.absent:
            raise ValueError("give an attack, or the rounds in which the site is absent")
        return self


class Scenario(StudySpec):
    """A study, its data and the behaviour of its sites."""

    about: Annotated[str, Field(max_length=500)] = ""
    data: DataSpec
    behaviour: list[Behaviour] = Field(default_factory=list)
    #: ``[policy.NAME]``: what the guard of one site lets leave, as in its ``site.toml``.
    policy: dict[str, PolicyTable] = Field(default_factory=dict)

    def behaviour_of(self, site: str) -> Behaviour | None:
        """What one site does that an honest one does not; None for an honest one."""
        return {row.site: row for row in self.behaviour}.get(site)

    @property
    def specification(self) -> StudySpec:
        """The study alone, as it is pinned on chain."""
        tables = {name: getattr(self, name) for name in StudySpec.model_fields}
        return StudySpec(**tables).with_files(self.files)


def load_scenario(name: str) -> tuple[Scenario, str]:
    """Read a scenario that comes with wardround, or a file.

    Args:
        name: such as ``four-hospitals``, or the path of a TOML file.
    Returns:
        The scenario and its text.
    Raises:
        ScenarioError: no such scenario or file.
        SpecificationError: it cannot be used; with the line.
    """
    if name in (known := builtin_scenarios()):
        text, source = known[name].read_text(encoding="utf-8"), f"{name}.toml"
        folder = known[name].parent
    else:
        path = Path(name)
        if not path.is_file():
            missing = "it is a folder, not a file" if path.is_dir() else "there is no such file"
            raise ScenarioError(name, f"{missing}; those that come along are {', '.join(known)}")
        text, source, folder = decode_text(path.read_bytes(), name), name, path.parent
    return study_from_text(Scenario, text, source, folder), text


def keep_scenario(scenario: Scenario, text: str, folder: Path) -> None:
    """Write a scenario into a run's folder, with the study's own files beside it, for readers."""
    (folder / "scenario.toml").write_text(text, encoding="utf-8")
    for name, data in scenario.files.items():
        (folder / name).write_bytes(data)


def builtin_scenarios() -> dict[str, Path]:
    """Scenarios that come with wardround, by name."""
    folder = Path(str(files("wardround_simulations"))) / "scenarios"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def with_changes(
    scenario: Scenario, *, rounds: int | None, seed: int | None, sites: int | None = None
) -> Scenario:
    """Change what the command line may change of a scenario.

    Raises:
        ScenarioError: its data comes from a fixed number of hospitals.
    """
    changes = {"rounds": rounds, "seed": seed}
    study = scenario.study.model_copy(update={k: v for k, v in changes.items() if v is not None})
    update: dict[str, object] = {"study": study}
    if sites is not None:
        if "sites" not in scenario.data.arguments:
            reason = (
                f"its data, {scenario.data.name}, comes from hospitals of its own: drop --sites"
            )
            raise ScenarioError(scenario.study.name, reason)
        arguments = {**scenario.data.arguments, "sites": sites}
        update["data"] = scenario.data.model_copy(update={"arguments": arguments})
        least = min(scenario.aggregation.min_sites, sites)
        update["aggregation"] = scenario.aggregation.model_copy(update={"min_sites": least})
    return scenario.model_copy(update=update)
