"""How the training went: curves and events."""

from dataclasses import dataclass

import polars as pl
from markupsafe import Markup

from snellen.report.charts import Series, lines
from snellen.report.plain import number, plain
from snellen.report.totals import run_totals
from snellen.watching.facts import RunFacts

MOST_EVENTS = 40


@dataclass(frozen=True)
class Training:
    """The training section."""

    totals: list[tuple[str, str]]
    charts: list[tuple[str, Markup, str]]
    events: list[tuple[str, str, str, str]]
    """Step, kind, layer, message."""
    more_events: int


def training(run: RunFacts) -> Training:
    """Draw `run`; a signal that was not taken is left out."""
    charts = [
        ("Loss", _loss(run), ""),
        ("Validation metric", _metric(run), ""),
        ("Learning rate", _step_line(run, "lr", "learning rate"), ""),
        ("Gradient norm", _gradient(run), "Global L2 norm before clipping."),
        ("Update ratio", _step_line(run, "update_ratio", "‖ΔW‖ / ‖W‖", log=True), "About 1e-3 is usual."),
        ("Anchors matched per object", _positives(run), "Mean over the objects of a batch."),
    ]  # fmt: skip
    events = run.events.sort("step", nulls_last=False, maintain_order=True)
    return Training(
        totals=run_totals(run),
        charts=[c for c in charts if c[1]],
        events=[
            ("before" if e["step"] is None else f"{e['step']:,}", plain(e["kind"], 60), plain(e["layer"] or "", 80),
             plain(e["message"], 240))
            for e in events.head(MOST_EVENTS).to_dicts()
        ],
        more_events=max(0, len(events) - MOST_EVENTS),
    )  # fmt: skip


def _loss(run: RunFacts) -> Markup:
    steps, epochs = run.steps, run.epochs
    series = [Series("batch", steps["step"].to_list(), steps["loss"].to_list())] if len(steps) else []
    ends = _epoch_ends(run)
    for column, name in (("train_loss", "epoch mean"), ("val_loss", "validation")):
        known = [(ends.get(e, float(e)), v) for e, v in epochs.select("epoch", column).iter_rows() if v is not None]
        if known:
            series.append(Series(name, [x for x, _ in known], [v for _, v in known], dots=True))
    expected = run.initial_loss_expected
    mark = (expected, f"blind guess {number(expected)}") if expected is not None else None
    label = "step" if len(steps) else "epoch"
    return lines("loss over the run", series, x_label=label, y_label=plain(run.loss_kind or "loss", 60), mark=mark)


def _epoch_ends(run: RunFacts) -> dict[int, float]:
    """Epoch -> its last step."""
    ends = run.steps.drop_nulls("epoch").group_by("epoch").agg(last=_last()) if len(run.steps) else None
    return {epoch: float(step) for epoch, step in ends.iter_rows()} if ends is not None else {}


def _last() -> pl.Expr:
    return pl.col("step").max()


def _metric(run: RunFacts) -> Markup:
    series = []
    for column, name in (("metric", "validation"), ("train_metric", "training")):
        known = run.epochs.drop_nulls(column)
        if len(known):
            series.append(Series(name, known["epoch"].to_list(), known[column].to_list(), dots=True))
    base = run.baseline_metric
    mark = (base, f"constant guess {number(base)}") if base is not None else None
    return lines(
        "metric over the epochs", series, x_label="epoch", y_label=plain(run.metric_name or "metric", 60), mark=mark
    )


def _step_line(run: RunFacts, column: str, label: str, log: bool = False) -> Markup:
    known = run.steps.drop_nulls(column)
    series = [Series("", known["step"].to_list(), known[column].to_list())]
    return lines(label, series, x_label="step", y_label=label, log=log, height=180) if len(known) else Markup("")


def _gradient(run: RunFacts) -> Markup:
    known = run.steps.drop_nulls("grad_norm")
    if not len(known):
        return Markup("")
    limits = run.steps["clip_limit"].drop_nulls()
    mark = (float(limits[-1]), f"clipped at {number(limits[-1])}") if len(limits) else None
    series = [Series("", known["step"].to_list(), known["grad_norm"].to_list())]
    return lines("gradient norm", series, x_label="step", y_label="‖g‖", log=True, height=180, mark=mark)


def _positives(run: RunFacts) -> Markup:
    known = run.steps.drop_nulls(["targets", "positives"]).filter(pl.col("targets") > 0)
    if not len(known):
        return Markup("")
    ratio = (known["positives"] / known["targets"]).to_list()
    return lines(
        "anchors per object", [Series("", known["step"].to_list(), ratio)], x_label="step", y_label="anchors / object",
        height=180,
    )  # fmt: skip
