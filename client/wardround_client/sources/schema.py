"""What a site declares of its table: features, label, and how rows become numbers."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from wardround.learning.datasets.exact import number_of, plain_text
from wardround.protocol.documents import Form

Column = Annotated[str, Field(min_length=1, max_length=200)]
#: A category or label: text is found as the table spells it, a number however it is written.
Value = str | int | bool | FiniteFloat
#: Text that is no value in any column: what programs write for an empty field and for NaN.
ALWAYS_MISSING = frozenset({"", "nan", "NaN", "NAN"})


def _ordered(ends: list[float]) -> list[float]:
    if not ends[0] < ends[1]:
        raise ValueError("the range must go from low to high")
    return ends


#: The lowest and the highest value that can be true, from the textbook and not from the table.
Range = Annotated[list[FiniteFloat], Field(min_length=2, max_length=2), AfterValidator(_ordered)]


class Numeric(Form):
    """A number; one input of the model, scaled as `[data]` declares."""

    name: Column
    type: Literal["numeric"]
    #: A cell outside is an error.
    range: Range | None = None
    unit: Annotated[str, Field(max_length=40)] | None = None

    @property
    def width(self) -> int:
        """How many of the model's inputs it takes."""
        return 1


class Category(Form):
    """One of some values; each but the first is an input of the model that is 0 or 1."""

    name: Column
    type: Literal["category"]
    categories: Annotated[list[Value], Field(min_length=2, max_length=1000)]

    @model_validator(mode="after")
    def _distinct(self) -> Category:
        if _any_twice(self.categories):
            raise ValueError("a category is named twice")
        return self

    @property
    def width(self) -> int:
        """How many of the model's inputs it takes."""
        return len(self.categories) - 1


class Boolean(Form):
    """Yes or no; one input of the model that is 0 or 1."""

    name: Column
    type: Literal["boolean"]

    @property
    def width(self) -> int:
        """How many of the model's inputs it takes."""
        return 1


Feature = Annotated[Numeric | Category | Boolean, Field(discriminator="type")]


class Label(Form):
    """What the model is to tell: a column, and which of its values make each class."""

    column: Column
    #: Values of class 0, values of class 1, and so on.
    classes: Annotated[
        list[Annotated[list[Value], Field(min_length=1)]], Field(min_length=2, max_length=1000)
    ]

    @model_validator(mode="after")
    def _distinct(self) -> Label:
        if _any_twice([value for one in self.classes for value in one]):
            raise ValueError("a value is named twice")
        return self


class TableSchema(Form):
    """The keys of ``[data]`` that describe the table's content."""

    features: Annotated[list[Feature], Field(min_length=1, max_length=10_000)]
    label: Label
    #: The column that names the patient: all rows of one are on one side, and count as one.
    group: Column | None = None
    #: Columns that are there and not used, such as a patient's surname.
    ignore: list[Column] = Field(default_factory=list)
    #: Text that means a missing value; `ALWAYS_MISSING` and an empty database field always do.
    missing: list[str] = Field(default_factory=lambda: [""])
    #: ``drop`` leaves out rows in which a value is missing; ``error`` refuses the table.
    on_missing: Literal["drop", "error"] = "error"
    #: ``rows``: mean 0 and deviation 1 over the site's own training rows; ``range``: the declared
    #: range becomes -1 .. 1; ``none``: numbers as they are.
    scaling: Literal["rows", "range", "none"] = "rows"

    @model_validator(mode="after")
    def _fits(self) -> TableSchema:
        columns = [*self.columns, *self.ignore]
        twice = [name for name, times in Counter(columns).items() if times > 1]
        if twice:
            raise ValueError(f"column {twice[0]} is named twice")
        for feature in self.features:
            ranged = not isinstance(feature, Numeric) or feature.range is not None
            if self.scaling == "range" and not ranged:
                raise ValueError(f'scaling = "range" needs the range of {feature.name}')
        self._check_missing(self.label.column, [one for each in self.label.classes for one in each])
        for feature in self.features:
            if isinstance(feature, Category):
                self._check_missing(feature.name, feature.categories)
        return self

    def _check_missing(self, column: str, values: list[Value]) -> None:
        """Refuse declared values that would vanish, or only where a table has no empty fields."""
        texts = ALWAYS_MISSING.union(map(plain_text, self.missing))
        numbers = {number_of(text) for text in self.missing} - {None}
        for value in values:
            number = None if isinstance(value, str) else number_of(value)
            if text_of(value) in texts or number in numbers:
                raise ValueError(
                    f"{value!r} of {column} means a missing value: declare one of both"
                )

    @property
    def columns(self) -> list[str]:
        """The columns that are read: the features' in order, the label's, the patient's."""
        named = [*(feature.name for feature in self.features), self.label.column]
        return named if self.group is None else [*named, self.group]

    @property
    def width(self) -> int:
        """Inputs that a model needs for a row; the same at every site with this schema."""
        return sum(feature.width for feature in self.features)


def text_of(value: Value) -> str:
    """Spell a declared value as a table would: ``true``, ``3``, ``angina``."""
    return plain_text(value)


def _any_twice(values: list[Value]) -> bool:
    """Tell whether two values are spelt alike, or are one number."""
    numbers = [number_of(value) for value in values if not isinstance(value, str | bool)]
    texts = [text_of(value) for value in values]
    return len(set(texts)) < len(texts) or len(set(numbers)) < len(numbers)
