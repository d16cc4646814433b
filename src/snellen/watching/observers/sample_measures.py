"""What the samples of a run say as a whole; the rows of `measures` that `SampleObserver` gives.

* `rows-distinct` value: different rows, of: rows seen. `batch-distinct` median share of different rows in a batch, of:
  median rows. `row-values`: numbers in a row. `row-own-values` different values in the column that has most of them,
  over the different rows: 1 where one column tells all rows apart. `rows-under-two-labels` share of the different rows
  that came with more than one label.
* `validation-rows-trained-on` share of the different validation rows that training saw before, of: their number (rows
  that a pass without gradients chose for training came the other way round); `trained-rows-validated` the share of
  training rows validated; `validation-batches-mixed` share of the validation batches of which training had seen some
  rows and not others. A test after the last step is left out where there were validations before.
* `first-sight-accuracy`, `first-sight-majority` and `answer-column`: see `sample_answers`.
* `input-mean`, `input-std`, `input-min`, `input-max`; `layer-mean`, `layer-std`, `layer-rms` of what the first layer
  with weights got at its first call (detail: its name), unless a normalising layer comes before it.
* `channel-mean`, `channel-std` by phase and index; `channel-shift` (of: its z), `channel-apart` (the same
  in deviations of the training samples' own means), `channel-spread` (and
  `channel-spread-z`, its logarithm in standard errors), `channels-reversed` compare validation with training.
* `neighbour-lift` share of the rows whose nearest other row bears the same label, above chance: 0 none, 1 all (of:
  rows); `neighbour-z` the same in standard errors. `label-entropy` of the labels seen,
  nats; `label-majority` share of the most frequent one (of: classes). Of labels that are numbers, up to 16 for a
  row, `label-variance` (their mean one), and `neighbour-correlation` of each with the mean of its row's five nearest
  (of: rows; of several numbers the best).
* `rounds-equal` share of batches equal to the next one within a round of `index` workers, less that between rounds
  (of: batches).
* `places-alike` likeness of rows in the same place of different batches of one round of as many batches as `index`
  says, beyond that of batches of different rounds; of: its z.
* `confident-disagreement` share of the late rows that the model confidently calls another class (of: rows);
  `disagreement-unevenness` squared coefficient of variation over pairs of classes; `late-accuracy`. With index 0 the
  same of the first batches, where those are not the last ones, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from snellen.watching.observers.sample_answers import LEAST_ROWS, answer_column, compared, first_sight, row

Array = NDArray[Any]
ROUNDS = range(2, 9)
"""Numbers of loader workers that are tried."""
NEIGHBOURS = 5
"""Rows most like one from whose numbers its own is guessed."""


@dataclass
class Seen:
    """Records of `SampleObserver.batch`, in order."""

    batches: list[dict[str, Any]] = field(default_factory=list)
    workers: int = 0
    """Of the loader that has the most."""


def measures(
    seen: Seen,
    recent: Sequence[Mapping[str, Any]],
    early: Sequence[Mapping[str, Any]],
    leaf: Mapping[str, Any] | None,
) -> list[dict[str, Any]]:
    """All rows. Reads the device. `recent` and `early`: the last and the first records of `SampleObserver._judge`."""
    batches = [{k: _array(v) for k, v in b.items()} for b in seen.batches]
    train = [b for b in batches if b["phase"] == "training"]
    val = [b for b in batches if b["phase"] == "validation"]
    found: list[dict[str, Any]] = []
    for part in (
        _repeats(train),
        _leak(batches),
        first_sight(batches),
        answer_column(train),
        _scale(train, leaf),
        _channels(train, val),
        _neighbours(train),
        _places(train),
        _rounds(train, seen.workers),
        _noise([{k: _array(v) for k, v in b.items()} for b in recent]),
        _noise([{k: _array(v) for k, v in b.items()} for b in early], 0),
    ):
        found += part
    return found


def _array(value: Any) -> Any:
    return value.cpu().numpy() if isinstance(value, Tensor) else value


def _repeats(train: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    if not train:
        return
    prints = np.concatenate([b["prints"] for b in train])
    yield row("rows-distinct", len(np.unique(prints)), len(prints), phase="training")
    own = [len(np.unique(b["prints"])) / len(b["prints"]) for b in train]
    size = float(np.median([len(b["prints"]) for b in train]))
    yield row("batch-distinct", float(np.median(own)), size, phase="training", step=train[int(np.argmin(own))]["step"])
    yield row("row-values", train[0]["features"], phase="training")
    values, kept = compared(train, "prints")
    if len(values):
        rows = values[np.unique(kept, return_index=True)[1]]
        ordered = np.sort(rows, axis=0)
        most = ((np.diff(ordered, axis=0) != 0).sum(0) + 1).max()
        yield row("row-own-values", most / len(rows), len(rows), phase="training")
    labelled = [b for b in train if "labels" in b]
    if labelled:
        first: dict[int, float] = {}
        two: dict[int, int] = {}
        for b in labelled:
            for p, y in zip(b["prints"].tolist(), b["labels"].tolist(), strict=True):
                if first.setdefault(p, y) != y:
                    two.setdefault(p, b["step"])
        step = min(two.values(), default=None)
        yield row("rows-under-two-labels", len(two) / len(first), len(first), phase="training", step=step)


def _leak(batches: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    train = [b for b in batches if b["phase"] == "training"]
    val = [b for b in batches if b["phase"] == "validation"]
    if not train or not val:
        return
    own = [len(np.unique(b["prints"])) / len(b["prints"]) for b in val]
    yield row("batch-distinct", float(np.median(own)), phase="validation")
    last = max(at for at, b in enumerate(batches) if b["phase"] == "training")
    during = [b for b in batches[:last] if b["phase"] == "validation"]
    # A test after the last step is of other rows than those that the epochs were chosen on.
    if during:
        batches, val = batches[: last + 1], during
    trained, first = _first_trained(batches)
    held = np.concatenate([b["prints"] for b in val])
    distinct = np.unique(held)
    yield row("rows-distinct", len(distinct), len(held), phase="validation")
    before: list[Array] = []
    for at, b in enumerate(batches):
        if b["phase"] == "validation":
            place = np.searchsorted(trained, b["prints"]).clip(max=len(trained) - 1)
            before.append((trained[place] == b["prints"]) & (first[place] < at))
    shares = np.array([seen.mean() for seen in before])
    leaked = np.unique(held[np.concatenate(before)])
    share = len(leaked) / len(distinct)
    # Short rows of few ids or of bits meet by chance, in training, too: that says nothing of the split.
    values = [b["values"] for b in train if "values" in b]
    bits = bool(values) and all(((v == 0) | (v == 1)).all() for v in values)
    met = _met_by_chance(train, len(trained)) if bits or all(b.get("ids") for b in (*train, *val)) else 0.0
    yield row("validation-rows-trained-on", 0.0 if met >= share / 4 else share, len(distinct))
    yield row("trained-rows-validated", float(np.isin(trained, distinct).mean()), len(trained))
    yield row("validation-batches-mixed", float(((shares > 0.02) & (shares < 0.98)).mean()), len(val))


def _met_by_chance(train: Sequence[Mapping[str, Any]], different: int) -> float:
    """Share of the rows of the second half of a pass over the data that its first half had, too, 0..1.

    A pass is taken to be as many rows as are `different`: in a loader's pass none comes twice.
    """
    prints = np.concatenate([b["prints"] for b in train])
    half = different // 2
    return float(np.isin(prints[half : 2 * half], prints[:half]).mean()) if half else 0.0


def _first_trained(batches: Sequence[Mapping[str, Any]]) -> tuple[Array, Array]:
    """The different prints of training, sorted, and the batch in which each was first seen."""
    mine = [(at, b["prints"]) for at, b in enumerate(batches) if b["phase"] == "training"]
    rows = np.concatenate([prints for _, prints in mine])
    where = np.concatenate([np.full(len(prints), at) for at, prints in mine])
    different, first = np.unique(rows, return_index=True)
    return different, where[first]


def _scale(train: Sequence[Mapping[str, Any]], leaf: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    rows = [b for b in train if "mean" in b]
    if rows:
        mean = float(np.concatenate([b["mean"].ravel() for b in rows]).mean())
        square = float(np.concatenate([b["square"].ravel() for b in rows]).mean())
        bounds = np.array([b["bounds"] for b in rows])
        numbers = (mean, max(square - mean**2, 0) ** 0.5, bounds[:, 0].min(), bounds[:, 1].max())
        for name, value in zip(("mean", "std", "min", "max"), numbers, strict=True):
            yield row(f"input-{name}", value, sum(len(b["mean"]) for b in rows), phase="training")
    if leaf is not None:
        mean, std, low, high, rms = (float(v) for v in _array(leaf["numbers"]))
        for name, value in (("mean", mean), ("std", std), ("min", low), ("max", high), ("rms", rms)):
            yield row(f"layer-{name}", value, detail=leaf["layer"], step=0)


def _channels(train: Sequence[Mapping[str, Any]], val: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    sides = []
    widths = {b.get("features") for b in train}
    # What a part of the network is given is no input of the whole.
    val = [b for b in val if b.get("features") in widths]
    for phase, batches in (("training", train), ("validation", val)):
        rows = [b for b in batches if "mean" in b]
        if not rows or len({b["mean"].shape[1] for b in rows}) != 1:
            return
        # A validation set comes once an epoch: a row seen again tells nothing new.
        prints = np.concatenate([b["prints"] for b in rows])
        first = np.unique(prints, return_index=True)[1]
        means = np.concatenate([b["mean"] for b in rows])[first].astype(np.float64)
        squares = np.concatenate([b["square"] for b in rows])[first].astype(np.float64)
        mean = means.mean(0)
        std = np.sqrt(np.maximum(squares.mean(0) - mean**2, 0))
        # Relative error of the mean square, from row to row: few bright pixels make most of some.
        with np.errstate(all="ignore"):
            unsure = squares.std(0) / np.maximum(squares.mean(0), 1e-24) / max(len(squares), 1) ** 0.5
        sides.append((means, mean, std, unsure))
        for c, (m, s) in enumerate(zip(mean, std, strict=True)):
            yield row("channel-mean", m, len(means), phase=phase, index=c)
            yield row("channel-std", s, len(means), phase=phase, index=c)
    (t_rows, t_mean, t_std, t_unsure), (v_rows, v_mean, v_std, v_unsure) = sides
    if t_mean.shape != v_mean.shape or len(t_rows) < 16 or len(v_rows) < 16:
        return
    error = np.sqrt(t_rows.var(0) / len(t_rows) + v_rows.var(0) / len(v_rows)) + 1e-12
    unit = np.maximum(np.where(t_std > 0, t_std, v_std), 1e-12)
    for c in range(len(t_mean)):
        gap = float(v_mean[c] - t_mean[c])
        yield row("channel-shift", gap / unit[c], gap / error[c], index=c)
        yield row("channel-apart", abs(gap) / max(float(t_rows[:, c].std()), 1e-12), len(t_rows), index=c)
        if t_std[c] > 0:
            yield row("channel-spread", v_std[c] / t_std[c], len(v_rows), index=c)
            # The logarithm of a deviation is off by half of what its square is off.
            off = max(float(np.hypot(t_unsure[c], v_unsure[c])) / 2, 1e-12)
            yield row("channel-spread-z", abs(np.log(max(v_std[c] / t_std[c], 1e-24))) / off, index=c)
    if len(t_mean) == 3:
        straight = np.abs((v_mean - t_mean) / error).max()
        turned = np.abs((v_mean[::-1] - t_mean) / np.sqrt(t_rows.var(0) / len(t_rows) + 1e-24)).max()
        yield row("channels-reversed", turned / max(straight, 1e-9), straight)


def _labels(batches: Sequence[Mapping[str, Any]], count: int) -> Array | None:
    if not batches or not all("labels" in b for b in batches):
        return None
    labels = np.concatenate([b["labels"] for b in batches])[:count]
    return labels.astype(np.int64) if np.array_equal(labels, np.round(labels)) else None


def _likeliest(batches: Sequence[Mapping[str, Any]]) -> Array | None:
    """(N,) class of the largest share, where the numbers of each row are shares of classes that make up 1."""
    shares = np.concatenate([b["numbers"] for b in batches])
    if shares.shape[1] < 2 or not ((shares >= 0).all() and (np.abs(shares.sum(1) - 1) < 1e-3).all()):
        return None
    likeliest: Array = shares.argmax(1)
    return likeliest


def _neighbours(train: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    whole = [b for b in train if "values" in b and len(b["values"]) == len(b["prints"])]
    key = next((k for k in ("labels", "numbers") if all(k in b for b in whole)), "")
    if not whole or len({b["values"].shape[1] for b in whole}) != 1 or not key:
        return
    first = np.unique(np.concatenate([b["prints"] for b in whole]), return_index=True)[1]
    values = np.concatenate([b["values"] for b in whole])[first].astype(np.float64)
    labels = _labels(whole, 1 << 30) if key == "labels" else _likeliest(whole)
    if labels is None:
        yield from _near_numbers(values, np.concatenate([b[key] for b in whole])[first].astype(np.float64))
        return
    labels = labels[first]
    shares = np.unique(labels, return_counts=True)[1] / max(len(labels), 1)
    if len(shares) > 1:
        yield row("label-entropy", float(-(shares * np.log(shares)).sum()), len(labels))
        yield row("label-majority", float(shares.max()), len(shares))
    good = np.isfinite(values).all(1)
    values, labels = values[good][:1024], labels[good][:1024]
    count, chance = len(values), float((shares**2).sum())
    if count < LEAST_ROWS or len(shares) < 2 or len(shares) > count / 20:
        return
    agree = float((labels[_distances(values).argmin(1)] == labels).mean())
    yield row("neighbour-lift", (agree - chance) / (1 - chance), count)
    yield row("neighbour-z", (agree - chance) / np.sqrt(chance * (1 - chance) / count), count)


def _near_numbers(values: Array, numbers: Array) -> Iterator[dict[str, Any]]:
    """`numbers` (N,) or (N, k); of several the one that is guessed best from like rows."""
    numbers = numbers.reshape(len(numbers), -1)
    good = np.isfinite(values).all(1) & np.isfinite(numbers).all(1)
    values, numbers = values[good][:1024], numbers[good][:1024]
    numbers = numbers[:, numbers.std(0) > 0] if len(numbers) else numbers
    if len(values) < LEAST_ROWS or not numbers.shape[1]:
        return
    near = np.argpartition(_distances(values), NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    yield row("label-variance", float(numbers.var(0).mean()), len(numbers))
    pairs = [(numbers[near, k].mean(1), numbers[:, k]) for k in range(numbers.shape[1])]
    found = [float(np.corrcoef(guess, own)[0, 1]) for guess, own in pairs if guess.std() > 0]
    if found:
        yield row("neighbour-correlation", max(found), len(numbers))


def _distances(values: Array) -> Array:
    """(N, N) squared, of columns brought to one scale; of a row to itself infinite."""
    values = (values - values.mean(0)) / np.maximum(values.std(0), 1e-3 * max(float(values.std()), 1e-12))
    squares = (values**2).sum(1)
    far: Array = squares[:, None] + squares[None] - 2 * values @ values.T
    np.fill_diagonal(far, np.inf)
    return far


def _places(train: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Likeness of rows in one place, by distance of their batches, in one round of workers against across rounds."""
    rows = [b["values"] for b in train if "values" in b]
    rows = rows[:64]
    size = min((len(r) for r in rows), default=0)
    size = min(size, 32)
    if len(rows) < 16 or size < 4 or len({r.shape[1] for r in rows}) != 1 or rows[0].shape[1] < 16:
        return
    if len({r[0].tobytes() for r in rows}) < len(rows) // 2:
        return  # The same batch again and again.
    x = np.stack([r[:size] for r in rows]).astype(np.float64)
    if not np.isfinite(x).all():
        return
    x -= x.mean((0, 1))
    x /= np.maximum(np.linalg.norm(x, axis=2, keepdims=True), 1e-12)
    alike = np.einsum("tid,uid->tu", x, x) / size - np.einsum("tid,uid->tu", x, np.roll(x, 1, 1)) / size
    best: tuple[float, float, int] | None = None
    for width in ROUNDS:
        inside, across = [], []
        for lag in range(1, width):
            first = np.arange(len(x) - lag)
            same = first // width == (first + lag) // width
            pairs = np.diagonal(alike, lag)
            if same.sum() >= 4 and (~same).sum() >= 4:
                middle = pairs[~same].mean()
                inside += list(pairs[same] - middle)
                across += list(pairs[~same] - middle)
        if len(inside) < 8 or len(across) < 8:
            continue
        effect = float(np.mean(inside))
        spread = max(float(np.std(across)), 1e-6)
        z = effect / (spread * np.sqrt(1 / len(inside) + 1 / len(across)))
        if best is None or z > best[1]:
            best = (effect, z, width)
    if best:
        yield row("places-alike", best[0], best[1], index=best[2], phase="training")


def _rounds(train: Sequence[Mapping[str, Any]], workers: int) -> Iterator[dict[str, Any]]:
    """Whether the batches of one round of workers are equal row for row, and those of two rounds are not."""
    prints = [b["prints"] for b in train[:64]]
    if workers < 2 or len(prints) < 4 * workers:
        return
    equal = np.array([np.array_equal(a, b) for a, b in pairwise(prints)])
    last = np.arange(1, len(prints)) % workers == 0
    inside, across = float(equal[~last].mean()), float(equal[last].mean())
    yield row("rounds-equal", inside - across, len(prints), index=workers, phase="training")


def _noise(recent: Sequence[Mapping[str, Any]], index: int | None = None) -> Iterator[dict[str, Any]]:
    """Confident learning (Northcutt 2021, section 3.1) over the latest look at each row."""
    if not recent or len({b["classes"] for b in recent}) != 1:
        return
    late = (
        recent[len(recent) * 3 // 4 :] if sum(len(b["own"]) for b in recent[len(recent) * 3 // 4 :]) >= 600 else recent
    )
    keep = np.unique(np.concatenate([b["prints"] for b in late])[::-1], return_index=True)[1]
    labels, own, top, guess = (
        np.concatenate([b[k] for b in late])[::-1][keep] for k in ("labels", "own", "top", "guess")
    )
    good = (labels >= 0) & np.isfinite(own)
    labels, own, top, guess = labels[good], np.exp(own[good]), np.exp(top[good]), guess[good]
    classes = int(late[0]["classes"])
    if len(labels) < LEAST_ROWS:
        return
    limit = np.array([own[labels == k].mean() if (labels == k).any() else np.inf for k in range(classes)])
    sure = (top >= limit[guess]) & (guess != labels)
    yield row("late-accuracy", float((guess == labels).mean()), len(labels), index=index)
    yield row("confident-disagreement", float(sure.mean()), len(labels), index=index)
    present = np.flatnonzero(np.isfinite(limit))
    cells = len(present) * (len(present) - 1)
    if sure.sum() >= 20 and cells > 2:
        pairs = np.zeros((classes, classes))
        np.add.at(pairs, (labels[sure], guess[sure]), 1)
        counts = pairs[np.ix_(present, present)][~np.eye(len(present), dtype=bool)]
        expected = counts.sum() / cells
        uneven = (((counts - expected) ** 2).sum() / expected - (cells - 1)) / counts.sum()
        yield row("disagreement-unevenness", uneven, int(sure.sum()), index=index)
