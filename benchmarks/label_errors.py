"""Planted label errors in the digits sets: who finds them, Snellen or cleanlab, from the same predictions.

    python benchmarks/label_errors.py [--run RUN --data DATA] [--epochs 10]

needs cleanlab 2.9 in an environment of its own: `pip install cleanlab` beside Snellen. Images: 1,797 scans of digits of
which one in twenty is relabelled, judged by probabilities predicted in 5 folds. Objects: scenes of digits in which one
object in twenty is left out, one renamed and one shifted (`tests/evaluation/label_noise.py`, seed 0); a detector is
trained on 600 of them for `--epochs` (minutes on two cores), and the 300 held out are judged. `--run` and `--data`
take a run that was trained so, and its digits-detection folder as built and spoilt here.

For each: how many are accused, how many of these rightly (precision), what share of the planted ones that is (recall),
and the precision of the k that are ranked first, k being the number planted. Of objects, cleanlab ranks boxes and says
of whole images only which are wrong.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from cleanlab.filter import find_label_issues
from cleanlab.object_detection.filter import find_label_issues as find_object_issues
from cleanlab.object_detection.rank import (
    compute_badloc_box_scores,
    compute_overlooked_box_scores,
    compute_swap_box_scores,
    get_label_quality_scores,
)
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.evaluation.label_noise import KINDS, Wrong, hits, plant_label_noise

from snellen.boxes import CORNERS, pairwise_iou
from snellen.data.digits import build_digits
from snellen.data.examine import examine
from snellen.evaluation.facts import ScoreFacts
from snellen.evaluation.suspects import classification_suspects
from snellen.findings import Tier
from snellen.rules.joint.mislabelled_image import MislabelledImage
from snellen.verbs.train import train
from snellen.verbs.with_model import opinion_of

np.in1d = np.isin  # type: ignore[attr-defined]  # cleanlab 2.9 asks for a name that numpy 2.4 has dropped
SHARE = 0.05
BAR = 0.95
"""From this probability on a prediction tells cleanlab of overlooked and swapped objects, whatever the detector."""
SCENES = {"train_scenes": 600, "val_scenes": 300}


def row(name: str, right: Sequence[bool], planted: int, found: int | None = None) -> None:
    """One line; `right` says of each accused, ranked by sureness, whether rightly; `found`: planted errors met."""
    hit = sum(right) if found is None else found
    precision = f"{np.mean(right):.2f}" if len(right) else "  - "
    first = f"{np.sum(right[:planted]) / planted:.2f}" if len(right) >= planted else "  - "
    print(f"  {name:<38} accused {len(right):>4}  precision {precision}  recall {hit / planted:.2f}  at k {first}")


def images() -> None:
    """Relabelled scans, by two classifiers."""
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    wrong = rng.random(len(y)) < SHARE
    labels = np.where(wrong, (y + rng.integers(1, 10, len(y))) % 10, y)
    names, classes = [str(i) for i in range(len(y))], [str(k) for k in range(10)]
    models = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)),
        "extra trees": ExtraTreesClassifier(300, random_state=0),
    }
    least = MislabelledImage().options.min_margin
    for told, model in models.items():
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        p = cross_val_predict(model, x, labels, cv=folds, method="predict_proba")
        accuracy = np.mean(p.argmax(axis=1) == labels)
        print(f"images, {told}: {wrong.sum()} of {len(y)} relabelled, accuracy {accuracy:.3f}")
        start = time.perf_counter()
        suspects = classification_suspects(names, labels, p, classes)
        mine = time.perf_counter() - start
        for name, kept in (
            ("snellen, all suspects", suspects),
            ("snellen, mislabelled-image", suspects.filter(pl.col("score") - pl.col("label_score") >= least)),
        ):
            row(name, [bool(wrong[int(i)]) for i in kept["image"]], int(wrong.sum()))
        for by in ("prune_by_noise_rate", "confident_learning"):
            start = time.perf_counter()
            ranked = find_label_issues(labels, p, filter_by=by, return_indices_ranked_by="normalized_margin", n_jobs=1)
            theirs = time.perf_counter() - start
            row(f"cleanlab, {by}", wrong[ranked].tolist(), int(wrong.sum()))
        print(f"  {1000 * mine:.1f} ms, cleanlab's confident_learning {1000 * theirs:.1f} ms")


def objects(run: Path, data: Path, planted: Sequence[Wrong]) -> None:
    """Spoilt scenes that the detector of `run` never saw."""
    facts = opinion_of(run, examine(data, tier=Tier.HEADERS)).scores
    print(f"objects: {facts.split}, mAP50 {facts.score('mAP50'):.3f} against the spoilt labels")
    for part, seen in (("held out", False), ("trained on", True)):
        suspects = facts.suspects.filter(learned=seen)
        mine = [w for w in planted if ("/train/" in w.image) == seen]
        print(f"objects, images {part}:")
        for kind in KINDS:
            accused = suspects.filter(kind=kind).sort("score", descending=True)
            met = hits(accused, facts.objects, mine)
            total = sum(w.kind == kind for w in mine)
            row(f"snellen, {kind}", [bool(h) for h in met], total, len(set().union(*met)))
    unseen = [w for w in planted if "/val/" in w.image]
    usual = facts.predictions.filter(outcome="correct")["score"].mean()
    print("objects, images held out, the scores as they are:")
    _peer(facts, unseen)
    print(f"objects, images held out, the scores times {BAR / usual:.2f}, so that right ones have {BAR} on the mean:")
    stretched = facts.predictions.with_columns((pl.col("score") * BAR / usual).clip(0, 1))
    _peer(replace(facts, predictions=stretched), unseen)


def _peer(facts: ScoreFacts, planted: Sequence[Wrong]) -> None:
    """The same predictions on the held-out scenes, in cleanlab's shape, judged by cleanlab."""
    names = sorted({i for i in facts.evaluated["image"] if "/val/" in i})
    classes = list(facts.per_class["class_name"])
    labels, guesses = [], []
    for name in names:
        own = facts.objects.filter(image=name)
        kinds = [classes.index(c) for c in own["class_name"]]
        labels.append({"bboxes": own.select(CORNERS).to_numpy(), "labels": np.array(kinds, int)})
        said = facts.predictions.filter(image=name)
        by_class = [said.filter(class_name=c).select(*CORNERS, "score").to_numpy() for c in classes]
        guesses.append(np.array([*by_class, None], dtype=object)[:-1])
    scorers: dict[str, Callable[..., list[np.ndarray]]] = {
        "overlooked": compute_overlooked_box_scores,
        "swapped": compute_swap_box_scores,
        "misplaced": compute_badloc_box_scores,
    }
    for kind, scorer in scorers.items():
        wrong = [w for w in planted if w.kind == kind]
        ranked: list[tuple[float, bool]] = []
        for name, label, guess, scores in zip(
            names, labels, guesses, scorer(labels=labels, predictions=guesses), strict=True
        ):
            boxes = np.vstack(list(guess))[:, :4] if kind == "overlooked" else label["bboxes"]
            near = np.array([w.box for w in wrong if w.image == name]).reshape(-1, 4)
            for box, score in zip(boxes, scores, strict=True):
                if np.isfinite(score):
                    ranked.append((float(score), bool((pairwise_iou(box[None], near) > 0.5).any())))
        right = [hit for _, hit in sorted(ranked, key=lambda pair: pair[0])]
        first = np.sum(right[: len(wrong)]) / len(wrong)
        print(f"  cleanlab, {kind:<28} judged  {len(right):>4}  planted {len(wrong):>3}  at k {first:.2f}")
    spoilt = {w.image for w in planted}
    truth = np.array([name in spoilt for name in names])
    surest = dict(facts.suspects.group_by("image").agg(pl.col("score").max()).iter_rows())
    mine = sorted((n for n in names if n in surest), key=lambda n: -surest[n])
    row("snellen, images with any suspect", [n in spoilt for n in mine], int(truth.sum()))
    flagged = find_object_issues(labels, guesses, return_indices_ranked_by_score=True)
    row("cleanlab, images by find_label_issues", truth[flagged].tolist(), int(truth.sum()))
    order = np.argsort(get_label_quality_scores(labels, guesses, verbose=False))
    row("cleanlab, images by quality score", truth[order].tolist(), int(truth.sum()))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    images()
    with tempfile.TemporaryDirectory() as folder:
        # Built anew to learn what was planted: the same seed, the same errors.
        data = build_digits(Path(folder), **SCENES).detection
        planted = plant_label_noise(data, SHARE)
        if asked.run is None:
            train(data, out=Path(folder) / "run", epochs=asked.epochs)
        objects(asked.run or Path(folder) / "run", asked.data or data, planted)


if __name__ == "__main__":
    main()
