"""The chart: a sample of its runs, and its arithmetic on rows made by hand."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.chart import calibration, page, repair, run, score
from benchmarks.chart.case import Case, all_cases
from benchmarks.chart.harness import Said, Snellen, Tool
from benchmarks.chart.program import ORDER, Data, Program
from benchmarks.chart.worker import run_case

ROOT = Path(__file__).parents[2]
SAMPLE = ("restated/column-against-row/regression", "restated/train-called-once/mlp", "restated/layers-in-a-list/mlp")
"""Faults that are named without doubt: of loss, mode and structure."""
WELL = ("healthy/as-it-is/mlp", "healthy/as-it-is/gan", "healthy/sum-by-intent/mlp", "healthy/zero-head/mlp")


def by_name() -> dict[str, Case]:
    return {case.name: case for case in all_cases()}


def case(accepted: frozenset[str] = frozenset({"cause"}), place: str | None = None) -> Case:
    return Case("group/fault/subject", "mutant", "group", 1, "subject", "", accepted, place, lambda h, s: None)


def row(*said: Said, early: dict[str, list[dict[str, Any]]] | None = None) -> dict[str, Any]:
    return {
        "case": "group/fault/subject",
        "seed": 0,
        "error": None,
        "steps": 100,
        "early": early or {},
        "said": [s.to_dict() for s in said],
    }


def judged(*said: Said, of: Case | None = None, early: dict[str, list[dict[str, Any]]] | None = None) -> score.Judged:
    return score.judge(row(*said, early=early), of or case(), score.meanings("snellen"))


def test_the_first_root_cause_is_first_even_below_its_consequences() -> None:
    j = judged(Said("symptom", "error", "", causes=("cause",)), Said("cause", "warning", ""))
    assert (j.rank, j.alarms, j.right) == (1, 2, 2)


def test_another_root_before_it_makes_it_second_and_costs_precision() -> None:
    j = judged(Said("other", "error", ""), Said("other", "error", "again"), Said("cause", "error", ""))
    assert (j.rank, j.alarms, j.right) == (2, 2, 1)


def test_a_mere_hint_is_no_diagnosis() -> None:
    j = judged(Said("cause", "info", ""))
    assert not j.detected
    assert j.rank is None


def test_a_cause_called_a_consequence_of_something_else_is_not_named() -> None:
    j = judged(Said("other", "error", ""), Said("cause", "error", "", causes=("other",)))
    assert j.rank is None
    assert j.right == 1


@pytest.mark.parametrize(
    ("place", "message", "right"),
    [("head.weight", "", True), ("head2", "", False), ("", "the layer head is dead", True), ("ahead", "", False)],
)
def test_a_place_is_a_whole_name(place: str, message: str, right: bool) -> None:
    assert judged(Said("cause", "error", message, place), of=case(place="stem|head")).placed is right


def test_steps_are_those_at_which_the_cause_was_first_a_root() -> None:
    early = {"5": [Said("other", "error", "").to_dict()], "20": [Said("cause", "error", "").to_dict()]}
    assert judged(Said("cause", "error", ""), early=early).step == 20
    assert judged(Said("cause", "error", ""), early={"5": []}).step == 100
    assert judged(Said("other", "error", ""), early=early).step is None


def test_scores_count_shares_and_healthy_alarms() -> None:
    well = case(accepted=frozenset())
    total = score.scores(
        [judged(Said("cause", "error", "")), judged(), judged(Said("x", "error", ""), of=well), judged(of=well)]
    )
    assert (total.faulty, total.detected, total.first, total.third) == (2, 0.5, 0.5, 0.5)
    assert (total.healthy, total.false_alarms, total.precision) == (2, 1, 0.5)


def test_the_union_has_the_best_of_all() -> None:
    (one,) = score.union([judged(Said("other", "error", "")), judged(Said("cause", "error", ""))])
    assert (one.rank, one.alarms, one.right) == (1, 2, 1)


def test_meanings_of_peers_are_read_from_their_table() -> None:
    assert "dead-relu" in score.meanings("torchmortem")("Dead units")
    assert score.meanings("torchmortem")("never heard of") == frozenset()


def test_names_are_unique_and_every_fault_accepts_something() -> None:
    cases = all_cases()
    assert len({c.name for c in cases}) == len(cases)
    assert all(c.accepted for c in cases if c.kind in ("mutant", "restated"))
    assert sum(c.kind == "healthy" for c in cases) >= 45
    assert sum(c.kind == "unseen" for c in cases) >= 34
    assert sum(c.kind == "restated" for c in cases) >= 15


def test_cases_and_peers_need_no_snellen() -> None:
    code = "import sys; sys.modules['snellen'] = None; from benchmarks.chart.case import all_cases; all_cases()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def tiny() -> Program:
    torch.manual_seed(0)
    x = torch.randn(32, 4)
    part = Data(x, (x.sum(1) > 0).long())
    return Program(
        torch.nn.Linear(4, 2), part, part, torch.nn.functional.cross_entropy,
        lambda out, y: float((out.argmax(1) == y).float().mean()), lr=0.1, epochs=2, batch_size=8,
    )  # fmt: skip


class Silent(Tool):
    """Looks at nothing."""

    def findings(self) -> list[Said]:
        return []


def test_a_program_learns_and_each_part_can_be_taken_out() -> None:
    assert (tiny().train(Silent()) or 0) > 0.7
    without = tiny()
    without.order = [call for call in ORDER if call != "step"]
    before = without.model.weight.clone()
    without.train(Silent())
    assert torch.equal(without.model.weight, before)


def test_edits_of_the_recipe_are_understood_and_others_are_not() -> None:
    assert repair.settings_of({"op": "set-recipe", "lr": 0.01, "clip_norm": 1.0}) == {"lr": 0.01, "clip_norm": 1.0}
    assert repair.settings_of({"op": "set-recipe", "moon": 1}) == repair.settings_of({"op": "clip-box"}) == {}


def test_settings_reach_the_program() -> None:
    program = tiny()
    program.scheduler, program.clip_norm = torch.optim.lr_scheduler.ConstantLR, 1.0
    for key, value in {"schedule": "constant", "clip_norm": 0.0, "label_smoothing": 0.5, "lr": 0.01}.items():
        repair.SETTERS[key](program, value)
    assert (program.scheduler, program.clip_norm, program.lr) == (None, None, 0.01)
    out, y = torch.tensor([[4.0, -4.0]]), torch.tensor([0])
    assert float(program.loss_fn(out, y)) > 1


def test_the_first_root_cause_with_an_edit_is_followed() -> None:
    said = [
        Said("a", "error", "", causes=("b",), edit={"op": "set-recipe", "lr": 1.0}),
        Said("b", "error", ""),
        Said("c", "warning", "", edit={"op": "set-recipe", "lr": 2.0}),
    ]
    assert repair.first_settings(said) == {"lr": 2.0}


@pytest.mark.parametrize(
    ("before", "after", "mended"), [(0.2, 0.96, True), (0.2, 0.5, False), (0.2, None, False), (0.97, None, None)]
)
def test_only_a_run_that_suffered_can_be_mended(before: float, after: float | None, mended: bool | None) -> None:
    made = {**row(), "score": before, "repair": {"healthy": 1.0, "score": after}}
    assert score.judge(made, case(), score.meanings("snellen")).mended is mended


def test_a_tool_that_fails_does_not_end_the_run() -> None:
    class Broken(Silent):
        def start(self) -> None:
            raise RuntimeError("broken")

    made = run_case(by_name()["healthy/as-it-is/regression"], Broken(), 0)
    assert made["error"] == "tool: RuntimeError: broken"
    assert made["score"] is not None


@pytest.mark.parametrize("name", SAMPLE)
def test_a_fault_is_named_first(name: str) -> None:
    found = by_name()[name]
    tool = Snellen()
    j = score.judge(run_case(found, tool, 1), found, score.meanings("snellen"))
    assert j.rank == 1


@pytest.mark.parametrize("name", WELL)
def test_a_healthy_run_is_met_with_silence(name: str) -> None:
    made = run_case(by_name()[name], Snellen(), 1)
    assert made["error"] is None
    assert [s["rule"] for s in made["said"] if s["severity"] != "info"] == []


def test_runs_come_back_as_rows_and_tables(tmp_path: Path) -> None:
    worker = run.Worker("none", sys.executable)
    made = {"tool": "none", **worker.ask("healthy/as-it-is/regression", 0, 60.0)}
    slow = worker.ask("healthy/as-it-is/unet", 0, 0.05)
    worker.stop()
    assert made["score"] > 0.2
    assert "no answer" in slow["error"]
    rows = [made, {**made, "tool": "snellen", "said": [Said("x", "error", "y").to_dict()]}]
    paths = page.write_page(rows, tmp_path)
    assert "x ×1" in paths[0].read_text()
    assert paths[1].read_text().startswith("<!doctype html>")


def test_the_calibration_table_shows_the_narrowest_margin_first() -> None:
    wide = calibration.Margin("a", "limit", 1.0, None, None, 0, "")
    narrow = calibration.Margin("b", "limit", 1.0, 0.5, 2.0, 3, "healthy/x/y (0)")
    assert [line[0] for line in calibration.table([wide, narrow])] == ["rule", "b", "a"]
