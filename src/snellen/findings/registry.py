"""Every rule there is, found by looking: one file per rule under `snellen/rules/<wing>/`."""

import difflib
import importlib
import pkgutil
from functools import cache

import snellen.rules
from snellen.errors import UseError
from snellen.findings.rule import Rule, RuleDefinitionError


class UnknownRuleError(UseError):
    """A name, code or prefix that selects no rule."""


@cache
def all_rules() -> dict[str, type[Rule]]:
    """Name -> class, sorted by code. Raises RuleDefinitionError on a doubled name or a misplaced file."""
    found: list[type[Rule]] = []
    for info in pkgutil.walk_packages(snellen.rules.__path__, "snellen.rules."):
        module = importlib.import_module(info.name)
        stem = info.name.rsplit(".", 1)[-1]
        if info.ispkg or stem.startswith("_"):
            continue
        mine = [
            v
            for v in vars(module).values()
            if isinstance(v, type) and issubclass(v, Rule) and v.__module__ == info.name
        ]
        if len(mine) != 1 or mine[0].name.replace("-", "_") != stem:
            raise RuleDefinitionError(f"{info.name}: a rule file holds one rule and bears its name")
        found += mine
    found.sort(key=lambda rule: rule.code)
    names = [n for rule in found for n in (rule.name, rule.code, *rule.aliases)]
    doubled = sorted({n for n in names if names.count(n) > 1})
    if doubled:
        raise RuleDefinitionError(f"rule names used twice: {', '.join(doubled)}")
    return {rule.name: rule for rule in found}


def find_rules(selector: str) -> list[type[Rule]]:
    """Return the rules that a name, alias, code, code prefix, category or `ALL` stands for.

    Raises UnknownRuleError, naming the nearest match.
    """
    rules = list(all_rules().values())
    if selector == "ALL":
        return rules
    exact = [r for r in rules if selector in (r.name, r.code, *r.aliases)]
    if exact:
        return exact
    several = [r for r in rules if r.code.startswith(selector) or r.category == selector]
    if several:
        return several
    known = [n for r in rules for n in (r.name, r.code)]
    near = difflib.get_close_matches(selector, known, 1)
    hint = f"; did you mean {near[0]}?" if near else "; `snellen rules` lists them"
    raise UnknownRuleError(f"no rule is called {selector!r}{hint}")


def find_rule(name: str) -> type[Rule]:
    """Return the one rule of that name, alias or code. Raises UnknownRuleError."""
    found = find_rules(name)
    if len(found) != 1:
        raise UnknownRuleError(f"{name!r} stands for {len(found)} rules; name one")
    return found[0]
