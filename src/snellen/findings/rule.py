"""The base of every rule: its names, its page, its options, and what it needs to see."""

import inspect
import re
import typing
from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from snellen.findings.measured import Measured
from snellen.findings.severity import Category, Severity, Tier

HEADINGS = (
    "What it does",
    "Why is this bad",
    "How it is computed",
    "Example",
    "Fix",
    "Options",
    "Known false positives",
    "References",
)
"""The headings of a rule's page, in order. `Options` is generated and must not be written by hand."""

PREFIXES = {
    "IMG": "image files",
    "ANN": "annotation geometry",
    "LBL": "labels, ids and schema",
    "SPL": "splits and duplicates",
    "DST": "distribution of the dataset",
    "NET": "network",
    "RUN": "training run",
    "EVL": "predictions and scores",
    "CFG": "recipe and settings",
    "EXM": "the exam itself",
}


class RuleOptions(BaseModel):
    """Base of a rule's options: frozen, unknown keys are errors, the field's doc stands under the field."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RuleDefinitionError(TypeError):
    """A rule class that lacks a name, a code, a heading or an example."""


class Rule:
    """A pure function over facts, with its documentation.

    A subclass states `name`, `code` and `category`, documents itself under the fixed `HEADINGS`, and implements
    `check`, whose parameters are annotated with facts classes (`DataFacts`, `NetworkFacts`, `RunFacts`,
    `ScoreFacts`, `Recipe`); the engine passes the facts of those types. A rule whose facts were not gathered is
    reported as skipped, with the reason. `check` yields `Finding`s and touches no file and no model.
    """

    name: ClassVar[str]
    """Reads after "allow ...": kebab-case, names the bad pattern."""
    code: ClassVar[str]
    category: ClassVar[Category]
    tier: ClassVar[Tier] = Tier.LABELS
    """The dearest dataset facts `check` reads."""
    preview: ClassVar[bool] = False
    """Not yet proven on enough healthy subjects: runs only when selected by its full name or code."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """Former names, accepted for ever."""
    causes: ClassVar[tuple[str, ...]] = ()
    """Names of rules of whose findings, at the same place, this rule's finding is only a consequence."""
    Options: ClassVar[type[RuleOptions]] = RuleOptions

    measured: ClassVar[Callable[..., Measured] | None] = None
    """A rule with a threshold over records defines it beside `check`, with facts of the same kind: the numbers that
    the threshold cuts, for `snellen calibrate`. Both go by one expression."""

    def __init__(self, options: RuleOptions | None = None, severity: Severity | None = None) -> None:
        self.options: Any = options if options is not None else self.Options()
        self.severity = severity if severity is not None else self.category.severity

    def __init_subclass__(cls) -> None:
        """Refuse, at import, a rule that is not documented or not named as the others are."""
        missing = [a for a in ("name", "code", "category") if not hasattr(cls, a)]
        if missing:
            raise RuleDefinitionError(f"{cls.__module__}.{cls.__qualname__}: {', '.join(missing)} not set")
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", cls.name):
            raise RuleDefinitionError(f"{cls.name}: a rule's name is kebab-case")
        if not re.fullmatch(rf"({'|'.join(PREFIXES)})\d{{3}}", cls.code):
            raise RuleDefinitionError(f"{cls.name}: code {cls.code!r} is not one of {', '.join(PREFIXES)} + 3 digits")
        page = cls.page()
        wanted = [h for h in HEADINGS if h != "Options"]
        absent = [h for h in wanted if not page.get(h)]
        if absent:
            raise RuleDefinitionError(f"{cls.name} ({cls.code}): documentation lacks {', '.join(absent)}")

    @classmethod
    def page(cls) -> dict[str, str]:
        """The docstring split at its headings: `{"": summary, "What it does": text, ...}`."""
        sections: dict[str, str] = {}
        heading: str = ""
        lines: list[str] = []
        for line in inspect.cleandoc(cls.__doc__ or "").splitlines():
            if line.startswith("## "):
                sections[heading] = "\n".join(lines).strip()
                heading, lines = line[3:].strip().rstrip("?"), []
            else:
                lines.append(line)
        sections[heading] = "\n".join(lines).strip()
        return sections

    @classmethod
    def needs(cls) -> dict[str, type]:
        """Parameter name -> facts class of `check`, in order; empty for rules that the engine itself reports."""
        check = getattr(cls, "check", None)
        if check is None:
            return {}
        hints = typing.get_type_hints(check)
        return {n: hints[n] for n in inspect.signature(check).parameters if n != "self"}

    @classmethod
    def wing(cls) -> str:
        """The package under `rules` it lives in: data, network, run, evaluation, recipe or joint."""
        return cls.__module__.split(".")[-2]
