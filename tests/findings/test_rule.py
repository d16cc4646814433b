"""A rule without its page or its name does not import."""

import pytest

from snellen.findings import Category, Rule
from snellen.findings.registry import UnknownRuleError, all_rules, find_rule, find_rules
from snellen.findings.rule import RuleDefinitionError


def test_an_undocumented_rule_is_refused() -> None:
    with pytest.raises(RuleDefinitionError, match="documentation lacks What it does, Why is this bad"):
        type("Bare", (Rule,), {"name": "bare", "code": "IMG999", "category": Category.STYLE, "__doc__": "Bare."})


@pytest.mark.parametrize(("name", "code"), [("Bad_Name", "IMG999"), ("good-name", "XYZ001"), ("good-name", "IMG1")])
def test_names_and_codes_have_one_form(name: str, code: str) -> None:
    with pytest.raises(RuleDefinitionError):
        type("Odd", (Rule,), {"name": name, "code": code, "category": Category.STYLE, "__doc__": "Odd."})


def test_every_wing_has_at_least_eight_rules() -> None:
    wings: dict[str, int] = {}
    for rule in all_rules().values():
        wings[rule.wing()] = wings.get(rule.wing(), 0) + 1
    assert all(wings[wing] >= 8 for wing in ("data", "network", "run", "evaluation")), wings
    assert wings["joint"] >= 2


def test_a_cause_is_a_known_rule() -> None:
    for rule in all_rules().values():
        assert set(rule.causes) <= all_rules().keys(), f"{rule.name} names an unknown cause"


def test_a_rule_is_found_by_name_code_and_prefix() -> None:
    rule = find_rule("rule-crashed")
    assert find_rule("EXM001") is rule
    assert rule in find_rules("EXM")
    with pytest.raises(UnknownRuleError, match="did you mean rule-crashed"):
        find_rule("rule-crash")


def test_rules_import_no_torch_and_nothing_of_ours_but_the_ground_floor() -> None:
    import ast
    from pathlib import Path

    import snellen.rules

    # A recipe is plain values, as facts are; pairs of layers and turned hashes are read off the facts, by others too.
    plain = ("snellen.training.recipe", "snellen.network.pairs", "snellen.data.hashes")
    allowed = ("snellen.findings", "snellen.facts", "snellen.boxes", "snellen.rules", *plain)
    for path in Path(snellen.rules.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                assert not module.startswith("torch"), f"{path.name} imports {module}"
                ours = module.startswith("snellen") and not module.endswith(".facts")
                assert not ours or module.startswith(allowed), f"{path.name} imports {module}"
