"""Which edits of findings a recipe can take."""

import pytest

from snellen.findings import Finding, Fix, FixSafety
from snellen.findings.severity import Severity
from snellen.training.recipe import Recipe
from snellen.training.repair import repairs

RECIPE = Recipe(task="classification", model="small-resnet", image_size=32, lr=3.0)


def offer(*, safety: FixSafety = FixSafety.SAFE, rule: str = "lr-too-high", **settings: object) -> Finding:
    return Finding(rule=rule, message="", fix=Fix(safety, "do it", {"op": "set-recipe", **settings}))


def test_an_edit_becomes_an_edited_recipe() -> None:
    (repair,) = repairs([offer(lr=0.003)], RECIPE)
    assert repair.changes == {"lr": 0.003}
    assert repair.recipe == RECIPE.vary(lr=0.003)
    assert repair.safe
    assert not repairs([offer(lr=0.003, safety=FixSafety.UNSAFE)], RECIPE)[0].safe


def test_the_first_beta_is_the_momentum_of_the_recipe() -> None:
    (repair,) = repairs([offer(betas=[0.8, 0.999])], RECIPE)
    assert repair.changes == {"momentum": 0.8}


@pytest.mark.parametrize(
    "settings",
    [{"lr": 3.0}, {"lr": -1.0}, {"eps": 1e-8}, {"lr": 0.1, "schedule_per": "epoch"}, {}],
    ids=["as it is", "impossible", "of another program", "in part of another program", "words only"],
)
def test_what_a_recipe_cannot_take_is_left_out(settings: dict[str, object]) -> None:
    assert repairs([offer(**settings)], RECIPE) == []


def test_consequences_remarks_and_other_edits_are_left_out() -> None:
    found = [
        Finding(rule="a", message="", caused_by="b", fix=offer(lr=0.1).fix),
        Finding(rule="b", message="", severity=Severity.INFO, fix=offer(lr=0.1).fix),
        Finding(rule="c", message="", fix=Fix(FixSafety.SAFE, "clip", {"op": "clip-box"})),
        Finding(rule="d", message=""),
    ]
    assert repairs(found, RECIPE) == []


def test_no_repair_leads_back_or_twice_to_the_same_recipe() -> None:
    found = [offer(lr=0.1), offer(lr=0.1, rule="loss-spike"), offer(lr=0.2, rule="exploding-gradient")]
    assert [r.finding.rule for r in repairs(found, RECIPE)] == ["lr-too-high", "exploding-gradient"]
    assert [r.changes["lr"] for r in repairs(found, RECIPE, tried=[RECIPE.vary(lr=0.1)])] == [0.2]
