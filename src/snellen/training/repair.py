"""From findings to an edited recipe: which of the offered changes a recipe can take. Imports no torch."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from snellen.findings.finding import Finding, FixSafety
from snellen.findings.severity import Severity
from snellen.training.recipe import Recipe, RecipeError


@dataclass(frozen=True)
class Repair:
    """A change of a recipe, and the finding that asks for it."""

    finding: Finding
    changes: Mapping[str, Any]
    """Field -> value; at least one, and none that the recipe has already."""
    recipe: Recipe
    """The recipe with them."""

    @property
    def safe(self) -> bool:
        """Whether it may be made unasked."""
        return self.finding.fix is not None and self.finding.fix.safety is FixSafety.SAFE

    @property
    def title(self) -> str:
        """The finding's instruction in words."""
        return self.finding.fix.title if self.finding.fix is not None else ""


def repairs(findings: Iterable[Finding], recipe: Recipe, tried: Collection[Recipe] = ()) -> list[Repair]:
    """What root causes of error or warning offer to change in `recipe`, in their order; nothing leads to a tried one.

    An edit that names a field which no recipe has, or a value which it cannot hold, speaks of another program and is
    left out.
    """
    out: list[Repair] = []
    for finding in findings:
        if finding.caused_by is not None or finding.severity < Severity.WARNING or finding.fix is None:
            continue
        changes = _changes(finding.fix.edit, recipe)
        if not changes:
            continue
        try:
            edited = recipe.vary(**changes)
        except RecipeError:
            continue
        if edited not in (*tried, *(other.recipe for other in out)):
            out.append(Repair(finding, changes, edited))
    return out


def _changes(edit: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    if edit.get("op") != "set-recipe":
        return {}
    wanted = {name: value for name, value in edit.items() if name != "op"}
    if "betas" in wanted:
        wanted["momentum"] = wanted.pop("betas")[0]  # The recipe's momentum is Adam's first beta.
    if not wanted.keys() <= Recipe.model_fields.keys():
        return {}
    return {name: value for name, value in wanted.items() if getattr(recipe, name) != value}
