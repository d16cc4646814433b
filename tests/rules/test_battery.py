"""The battery over every registered rule: it fires on its injected defect and is silent on every healthy subject."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from snellen.findings.engine import Verdict, judge
from snellen.findings.registry import all_rules
from snellen.findings.settings import LoadedSettings, Settings, chosen_rules
from snellen.watching.facts import RunFacts
from tests.rules import (
    data_injections,
    dataset_injections,
    duplicate_injections,
    evaluation_injections,
    image_injections,
    joint_injections,
    label_error_injections,
    mask_injections,
    network_injections,
    outline_injections,
    run_boxes_injections,
    run_data_injections,
    run_depth_injections,
    run_form_injections,
    run_injections,
    run_input_injections,
    run_loop_injections,
    run_loss_injections,
    run_script_injections,
    run_trial_injections,
)

WINGS = {
    "data": data_injections,
    "images": image_injections,
    "outlines": outline_injections,
    "masks": mask_injections,
    "datasets": dataset_injections,
    "copies": duplicate_injections,
    "network": network_injections,
    "run": run_injections,
    "loop of a run": run_loop_injections,
    "losses of a run": run_loss_injections,
    "experiments": run_trial_injections,
    "run, depth": run_depth_injections,
    "data of a run": run_data_injections,
    "boxes of a run": run_boxes_injections,
    "inputs of a run": run_input_injections,
    "other forms": run_form_injections,
    "scripts": run_script_injections,
    "evaluation": evaluation_injections,
    "joint": joint_injections,
    "label errors": label_error_injections,
}
Subject = Callable[[Path], list[Any]]
SICK: Mapping[str, Subject] = {name: make for wing in WINGS.values() for name, make in wing.SICK.items()}
ALSO: Mapping[str, set[str]] = {name: also for wing in WINGS.values() for name, also in wing.ALSO.items()}
MORE: Mapping[str, tuple[str, Subject]] = {
    **run_input_injections.MORE,
    **run_form_injections.MORE,
    **run_script_injections.MORE,
}
CLEAN: Mapping[str, Subject] = {f"{w}:{name}": make for w, m in WINGS.items() for name, make in m.CLEAN.items()}


def verdict_on(facts: list[Any], folder: Path, *extra: str) -> Verdict:
    settings = Settings(extend_select=extra)
    return judge(facts, LoadedSettings(settings, "test", folder), rules=chosen_rules(settings))


def test_every_rule_has_an_injection() -> None:
    checked = {name for name, rule in all_rules().items() if rule.needs()}
    assert SICK.keys() == checked


@pytest.mark.parametrize("name", sorted(SICK))
def test_fires_on_its_defect_and_on_nothing_it_did_not_cause(name: str, tmp_path: Path) -> None:
    verdict = verdict_on(SICK[name](tmp_path), tmp_path, name)
    mine = [f for f in verdict.findings if f.rule == name]
    assert mine, f"{name} is silent on its own defect; found: {[(f.rule, f.message) for f in verdict.findings]}"
    prints = {f.fingerprint for f in mine}
    others = [f for f in verdict.roots if f.rule != name and f.fingerprint not in prints]
    unexpected = [(f.rule, f.message) for f in others if f.rule not in ALSO.get(name, set())]
    assert not unexpected
    assert all(f.message and "\n" not in f.message for f in mine)
    if {*all_rules()[name].needs().values()} == {RunFacts}:
        assert all(f.fix and f.fix.title for f in mine), f"{name} names no remedy"
    if name not in ALSO:
        assert any(f.caused_by is None for f in mine), f"{name} was explained away by {[f.rule for f in others]}"


@pytest.mark.parametrize("what", sorted(MORE))
def test_fires_on_another_form_of_its_defect(what: str, tmp_path: Path) -> None:
    name, make = MORE[what]
    assert [f.rule for f in verdict_on(make(tmp_path), tmp_path).roots] == [name]


@pytest.mark.parametrize("name", sorted(CLEAN))
def test_a_healthy_subject_is_met_with_silence(name: str, tmp_path: Path) -> None:
    verdict = verdict_on(CLEAN[name](tmp_path), tmp_path)
    assert [(f.rule, f.message) for f in verdict.findings] == []
