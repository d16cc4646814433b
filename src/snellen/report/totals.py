"""The numbers of each facts object that every form of report leads with, as pairs of name and text."""

from dataclasses import dataclass

import polars as pl

from snellen.data.facts import DataFacts
from snellen.evaluation.facts import ScoreFacts
from snellen.findings.words import plural
from snellen.network.facts import NetworkFacts
from snellen.report.plain import number, plain, share, short, size
from snellen.watching.facts import RunFacts

Rows = list[tuple[str, str]]
HEADLINE = (
    "mAP_voc2007", "mAP_voc2010", "mAP", "mAP50", "mAP75", "mAP_rare", "mAP_common", "mAP_frequent", "f1", "accuracy",
    "balanced_accuracy", "macro_f1", "mean_ap", "subset_accuracy", "miou", "pixel_accuracy", "boundary_iou", "pq", "sq",
    "rq",
)  # fmt: skip
"""Metrics shown without asking for all of them; the others stand in the page's list and in JSON."""


def data_totals(data: DataFacts) -> Rows:
    """Format, images by split, objects, classes, image sizes, and what was left out."""
    splits = data.images["split"].drop_nulls().value_counts(sort=True).rows()
    by_split = ", ".join(f"{plain(name, 40)} {count:,}" for name, count in splits)
    rows = [
        ("format", f"{data.format}, {data.task}"),
        ("images", f"{len(data.images):,}" + (f" ({by_split})" if by_split else "")),
    ]
    if data.task == "detection" or len(data.boxes):
        unusable = int((~data.boxes["usable"]).sum())
        labelled = set(data.boxes["image"].drop_nulls().unique())
        unlabelled = sum(image not in labelled for image in data.images["image"])
        odd = f", {unusable:,} unusable" if unusable else ""
        what = "segments" if data.task == "segmentation" else "boxes"
        rows.append((what, f"{len(data.boxes):,}{odd}; {plural(unlabelled, 'image')} without any"))
    if data.task == "segmentation":
        bare = data.images["mask_file"].null_count()
        kinds = ", ".join(sorted(data.masks["kind"].drop_nulls().unique()))
        rows.append(
            ("masks", f"{len(data.masks):,}{f' ({kinds})' if kinds else ''}; {plural(bare, 'image')} without any")
        )
    names = data.classes["class_name"].drop_nulls().to_list()
    rows.append(("classes", f"{len(names):,}: " + ", ".join(plain(n, 30) for n in names[:8]) + _more(len(names) - 8)))
    sizes = data.images.drop_nulls(["width", "height"])
    if len(sizes):
        common = sizes.group_by("width", "height").len().sort("len", "width", "height", descending=True).row(0)
        part = share(common[2] / len(sizes))
        low, high = sizes["width"].min(), sizes["width"].max()
        spread = "" if common[2] == len(sizes) else f" ({part}); widths {number(_f(low))} to {number(_f(high))}"
        rows.append(("image size", f"{common[0]} × {common[1]}{spread}"))
        rows.append(("bytes", size(_f(data.images["bytes"].sum()))))
    rows.append(("left out", _left_out(data)))
    return rows


def _left_out(data: DataFacts) -> str:
    if not len(data.ledger):
        return "nothing"
    reasons = data.ledger["reason"].value_counts(sort=True).head(3).rows()
    told = "; ".join(f"{count:,} {plain(reason, 80)}" for reason, count in reasons)
    return f"{plural(len(data.ledger), 'record')}: {told}" + _more(data.ledger["reason"].n_unique() - 3, "reasons")


def _more(count: int, what: str = "") -> str:
    return f" … {count:,} more{' ' + what if what else ''}" if count > 0 else ""


def _f(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def network_totals(network: NetworkFacts) -> Rows:
    """Name, input, parameters, cost, memory."""
    shape = " × ".join(str(n) for n in network.input_shape)
    rows = [
        ("network", plain(network.name)),
        ("input", shape),
        ("parameters", f"{network.total_params:,}" + _frozen(network)),
        ("cost", f"{short(network.macs)} MACs (1 MAC = 2 FLOPs)"),
        ("weights", size(network.weight_bytes)),
        ("training memory", f"{size(network.training_bytes_per_image)} of activations per image"),
    ]
    if network.num_outputs is not None:
        rows.append(("classes told apart", str(network.num_outputs)))
    if len(network.levels):
        told = ", ".join(
            f"stride {number(r['stride'])} sees {number(r['rf'])} px" for r in network.levels.sort("level").to_dicts()
        )
        rows.append(("levels", told))
    return rows


def _frozen(network: NetworkFacts) -> str:
    frozen = network.total_params - network.trainable_params
    return f", {frozen:,} of them frozen" if frozen else ""


def run_totals(run: RunFacts) -> Rows:
    """Steps, loss, learning rate, metric, speed."""
    steps, epochs = run.steps, run.epochs
    ended = "finished" if run.finished else f"not finished{': ' + plain(run.stop_reason) if run.stop_reason else ''}"
    rows = [("run", f"{plural(len(steps), 'step')}, {plural(len(epochs), 'epoch')}, {ended}")]
    if run.optimizer:
        rate = run.options.get("lr")
        lr = f", lr {number(rate)}" if isinstance(rate, int | float) else ""
        rows.append(("optimizer", f"{plain(run.optimizer)}{lr}"))
    if len(epochs):
        first, last = epochs.row(0, named=True), epochs.row(-1, named=True)
        rows.append(("train loss", f"{number(first['train_loss'])} → {number(last['train_loss'])}"))
        losses = epochs["val_loss"].drop_nulls()
        if len(losses):
            rows.append(("val loss", f"{number(losses[0])} → {number(losses[-1])}"))
        metrics = epochs.drop_nulls("metric").filter(pl.col("metric").is_finite())
        if len(metrics):
            best = metrics.sort("metric", descending=True, maintain_order=True).row(0, named=True)
            name = plain(run.metric_name or "metric", 60)
            rows.append((f"best {name}", f"{number(best['metric'])} (epoch {best['epoch']})"))
    elif len(steps):
        rows.append(("loss", f"{number(steps['loss'][0])} → {number(steps['loss'][-1])}"))
    seconds = float(steps["seconds"].sum() or 0)
    images = float(steps["batch_size"].sum() or 0)
    if seconds and images:
        waiting = float(steps["data_seconds"].sum() or 0) / seconds
        rows.append(("speed", f"{number(images / seconds)} images/s; {share(waiting) or '0 %'} of it waiting for data"))
    return rows


@dataclass(frozen=True)
class Score:
    """One metric."""

    metric: str
    value: float | None
    low: float | None
    high: float | None

    @property
    def interval(self) -> bool:
        """Whether a bootstrap interval was taken."""
        return self.low is not None and self.high is not None


def headline_rows(scores: ScoreFacts) -> list[Score]:
    """The metrics of `HEADLINE` that this evaluation has."""
    return [row for row in score_rows(scores) if row.metric in HEADLINE]


def score_rows(scores: ScoreFacts) -> list[Score]:
    """Every metric in the order the evaluation gives them."""
    return [Score(plain(r["metric"], 80), r["value"], r["low"], r["high"]) for r in scores.scores.to_dicts()]
