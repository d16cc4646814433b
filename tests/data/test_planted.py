"""A sample of the planted defects of benchmarks/planted_defects, its clean sets, and the page made of its lists."""

from pathlib import Path

import pytest
from benchmarks.planted_defects.checks import FIELD_WIDE, PAGE, page, rules_of
from benchmarks.planted_defects.clean import MAKERS, CleanSets
from benchmarks.planted_defects.examination import PLANTS, alarms, alone, together
from benchmarks.planted_defects.plant import LEDGER, REFUSED, Plant

from snellen.findings.registry import all_rules

QUICK = ("yolo", "coco-polygons", "folders")
"""Formats whose clean sets are looked at in every run of the tests."""


def sample() -> list[Plant]:
    """One plant of every format and a second of the large ones."""
    found = []
    for form in MAKERS:
        mine = [p for p in PLANTS if p.format == form]
        found += mine[len(mine) // 2 :: max(len(mine) // 2, 20)][:2]
    return found


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> CleanSets:
    return CleanSets(tmp_path_factory.mktemp("clean"))


def test_there_are_many_plants_each_of_its_own_name() -> None:
    assert len(PLANTS) >= 120
    assert len({plant.key for plant in PLANTS}) == len(PLANTS)
    assert all(plant.how for plant in PLANTS)
    assert {plant.format for plant in PLANTS} == set(MAKERS)


def test_every_check_has_rules_that_exist_or_a_reason() -> None:
    assert [check.number for check in FIELD_WIDE] == list(range(1, 94))
    assert {name for check in FIELD_WIDE for name in rules_of(check)} <= set(all_rules())
    assert all(rules_of(check) or check.note for check in FIELD_WIDE)
    assert {p.rule for p in PLANTS} <= set(all_rules()) | {LEDGER, REFUSED}


def test_every_data_rule_has_a_plant_or_a_check() -> None:
    named = {name for check in FIELD_WIDE for name in rules_of(check)}
    own = {name for name, rule in all_rules().items() if type(rule).__module__.startswith("snellen.rules.data.")}
    assert own <= named


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m benchmarks.planted_defects.run --write"


@pytest.mark.parametrize("form", QUICK)
def test_a_clean_set_is_met_with_silence(form: str, sets: CleanSets) -> None:
    assert alarms(form, sets) == ()


@pytest.mark.parametrize("plant", sample(), ids=lambda plant: plant.key)
def test_a_plant_is_found_at_its_place_and_explains_all_else(plant: Plant, sets: CleanSets, tmp_path: Path) -> None:
    outcome = alone(plant, sets, tmp_path)
    assert outcome.found, outcome.said
    assert outcome.strange == ()


@pytest.mark.slow
@pytest.mark.parametrize("form", MAKERS)
def test_all_plants_of_a_format(form: str, sets: CleanSets, tmp_path: Path) -> None:
    assert alarms(form, sets) == ()
    outcomes = [alone(plant, sets, tmp_path) for plant in PLANTS if plant.format == form]
    missed = {o.plant.key: o.said for o in outcomes if not o.found}
    assert not missed, missed
    assert {o.plant.key: o.strange for o in outcomes if o.strange} == {}
    # Its place is a row number, which other plants of the set move by taking rows away.
    moved = {"csv/cells-missing"}
    assert {o.plant.key for o in together(form, sets, tmp_path) if not o.found} <= moved
