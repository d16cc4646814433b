"""Whether the change that a tool offers mends a run: faults of the recipe, mended by the recipe.

A finding's edit is `{"op": "set", "key": KEY, "to": VALUE}` or `{"op": "set-recipe", KEY: VALUE, ...}`, with keys of
`SETTERS`. Each round the first root cause with such an edit has it applied, and the run is watched again; a run counts
as mended when its score comes within 5 % of that of its healthy twin.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.chart.case import Case
from benchmarks.chart.harness import Said, Tool
from benchmarks.chart.program import Program, seed_everything
from benchmarks.chart.subjects import SUBJECTS
from torch import nn

RECIPE_FAULTS = frozenset({9, 10, 11, 12, 14, 17, 18, 19, 53, 57, 63, 110})
"""Types of faults that a setting of the recipe can mend: rates, decay, momentum, clipping, smoothing, dropout."""
ROUNDS = 3
"""A rate that is a hundred times too high is not found in one step."""
ENOUGH = 0.95
"""Share of the healthy score."""


def _option(name: str) -> Callable[[Program, Any], None]:
    def put(program: Program, value: Any) -> None:
        program.options[name] = value

    return put


def _field(name: str) -> Callable[[Program, Any], None]:
    def put(program: Program, value: Any) -> None:
        setattr(program, name, value)

    return put


def _loss(name: str) -> Callable[[Program, Any], None]:
    def put(program: Program, value: Any) -> None:
        setattr(program.loss_fn, name, value)  # A module of torch keeps its settings as attributes.

    return put


def _dropout(program: Program, value: Any) -> None:
    for module in program.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = float(value)


SETTERS: Mapping[str, Callable[[Program, Any], None]] = {
    "lr": _field("lr"),
    "weight_decay": _option("weight_decay"),
    "momentum": _option("momentum"),
    "betas": _option("betas"),
    "eps": _option("eps"),
    "clip_norm": _field("clip_norm"),
    "batch_size": _field("batch_size"),
    "accumulate": _field("accumulate"),
    "schedule": _field("scheduler"),
    "schedule_per": _field("schedule_per"),
    "label_smoothing": _loss("label_smoothing"),
    "loss_reduction": _loss("reduction"),
    "dropout": _dropout,
}


def settings_of(edit: Mapping[str, Any]) -> dict[str, Any]:
    """Key -> value of an edit of the recipe; empty for any other edit, or one with a key that no program has."""
    if edit.get("op") == "set":
        found = {edit.get("key", ""): edit.get("to")}
    elif edit.get("op") == "set-recipe":
        found = {key: value for key, value in edit.items() if key != "op"}
    else:
        return {}
    return found if all(key in SETTERS for key in found) else {}


def first_settings(said: Sequence[Said]) -> dict[str, Any]:
    """Settings that the first root cause with an edit of the recipe offers."""
    roots = (s for s in said if s.severity in ("error", "warning") and not s.causes)
    return next((found for s in roots if (found := settings_of(s.edit))), {})


def run_with(
    subject: str, change: Callable[[Program], None] | None, settings: Mapping[str, Any], tool: Tool, seed: int
) -> float | None:
    """One run of a subject after a change and with settings."""
    seed_everything(seed)
    program = SUBJECTS[subject](seed)
    if change is not None:
        change(program)
    for key, value in settings.items():
        SETTERS[key](program, value)
    return program.train(tool)


def repair(case: Case, seed: int, said: Sequence[Said], tool: Callable[[], Tool], plain: Tool) -> dict[str, Any]:
    """Scores of the healthy twin and of the run with what is offered; the settings; and how many rounds it took."""
    healthy = run_with(case.subject, None, {}, plain, seed)
    score, settings, rounds = None, dict[str, Any](), 0
    while rounds < ROUNDS and (offered := first_settings(said)) and offered.items() - settings.items():
        settings |= offered
        rounds += 1
        watching = tool()
        watching.looks = ()
        score = run_with(case.subject, case.change, settings, watching, seed)
        said = watching.findings()
        if mended(score, healthy):
            break
    return {"healthy": healthy, "score": score, "settings": settings, "rounds": rounds}


def mended(score: float | None, healthy: float | None) -> bool:
    """Whether a score is near enough to that of the healthy twin."""
    return score is not None and healthy is not None and score >= ENOUGH * healthy
