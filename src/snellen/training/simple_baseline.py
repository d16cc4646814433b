"""What a classifier that needs no network reaches on the same images: a floor that a network is to beat."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from snellen.data.facts import DataFacts
from snellen.progress import Progress, silent
from snellen.training.classical import describe, of_recipe
from snellen.training.folds import split_of
from snellen.training.recipe import Recipe
from snellen.training.samples import Samples
from snellen.training.splits import Example

MODEL = "hog+colour+logistic"
"""Shape and colour, and a linear model: seconds, and hardly any setting to get wrong."""
MOST_IMAGES = 2000
"""Training images; more change little, and HOG takes 2 ms of each."""


def simple_baseline(
    data: DataFacts, recipe: Recipe, predictions: pl.DataFrame, *, progress: Progress = silent
) -> dict[str, Any]:
    """Fit `MODEL` on the training images of `recipe`'s split and hold it, image by image, against a network.

    Args:
        data: Facts of a classification dataset.
        recipe: The network's; its seed decides the split.
        predictions: `ScoreFacts.predictions` of the network.
        progress: Told how many images are described.

    Returns:
        name; images (held-out ones that both answered); accuracy and network (0..1 each); only_baseline and
        only_network, the images that one of the two alone gets right. Empty when no held-out image is left.
    """
    split = split_of(data, recipe)
    told = {row["image"]: row["class_name"] == row["true_class"] for row in predictions.iter_rows(named=True)}
    small = recipe.vary(model=MODEL, image_size=min(recipe.image_size, 64), pretrained=False)
    learn = _some(split.train, recipe.seed)
    held = [e for e in split.val if e.image in told]
    model = of_recipe(small, len(split.class_names))
    root = Path(data.root)
    parts = [Samples(root, part, small, augment=False) for part in (learn, held)]
    if not len(parts[0]) or not len(parts[1]):
        return {}
    total = len(parts[0]) + len(parts[1])
    known = describe(model, parts[0], lambda done: progress("simple baseline", done, total))
    if len(known.y.unique()) < 2:
        return {}
    model.estimator.fit(known.x, known.y.numpy())
    asked = describe(model, parts[1], lambda done: progress("simple baseline", len(parts[0]) + done, total))
    own = model.estimator.predict(asked.x) == asked.y.numpy()
    network = np.array([told[e.image] for e in parts[1].examples])
    return {
        "name": MODEL,
        "images": len(own),
        "accuracy": float(own.mean()),
        "network": float(network.mean()),
        "only_baseline": int((own & ~network).sum()),
        "only_network": int((network & ~own).sum()),
    }


def _some(examples: list[Example], seed: int) -> list[Example]:
    """At most `MOST_IMAGES`, drawn by `seed`."""
    if len(examples) <= MOST_IMAGES:
        return examples
    chosen = np.sort(np.random.default_rng((seed, 7)).permutation(len(examples))[:MOST_IMAGES])
    return [examples[i] for i in chosen]
