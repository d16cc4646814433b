"""What the default segmenter reaches on a folder of images and masks, and how long it takes.

    python benchmarks/segmentation.py DATA [--out RUN] [--threads N] [key=value ...]

Prints seconds of training, and IoU, Dice and boundary IoU of each class on the held-out images, scored at their own
size, as it is and after the dense CRF. The bar: foreground IoU of 0.85 on the membrane set (30 images of the ISBI 2012
challenge with labels, of which 6 are held out) within 12 minutes on one thread.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from snellen.data.mask_classes import IGNORED
from snellen.evaluation.semantic import evaluate_semantic
from snellen.models.segmentation.dense_crf import CrfSettings
from snellen.training.class_maps import maps_by_image
from snellen.training.predict_maps import predict_maps
from snellen.training.recipe_defaults import default_recipe
from snellen.training.trainer import train
from snellen.verbs.facts_for import facts_for


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="fields of the recipe")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    data = facts_for(given.data, "segmentation")
    plain = {k: _plain(v) for k, v in (pair.split("=", 1) for pair in given.overrides)}
    recipe = default_recipe(data, **plain)
    out = given.out or Path(tempfile.mkdtemp()) / "run"
    began, spent = time.perf_counter(), time.process_time()
    trained = train(data, recipe, out)
    wall, spent = time.perf_counter() - began, time.process_time() - spent
    print(f"{recipe.model} at {recipe.image_size} px, {recipe.epochs} epochs of batches of {recipe.batch_size}, "
          f"{recipe.loss}: {wall:.0f} s, {spent:.0f} s of processor time, {given.threads} threads")  # fmt: skip
    print("metric by epoch:", " ".join(f"{m:.3f}" for m in trained.epochs["metric"] if m is not None))
    held_out = trained.ledger.filter(split="val")["image"].to_list()
    maps, root = maps_by_image(data, trained.class_names), Path(data.root)
    for name, crf in (("as it is", None), ("dense CRF", CrfSettings())):
        found = predict_maps(trained.model, recipe, {i: root / i for i in held_out}, {}, crf=crf)
        sizes = ((f, (f.labels.shape[1], f.labels.shape[0])) for f in found)
        pairs = ((f.image, maps[f.image].drawn(root, size, size), f.labels) for f, size in sizes)
        scores = evaluate_semantic(pairs, trained.class_names, ignore_index=IGNORED, bootstrap=0)
        for row in scores.per_class.to_dicts():
            told = ", ".join(f"{m} {row[m]:.4f}" for m in ("iou", "dice", "boundary_iou") if row[m] is not None)
            print(f"{len(held_out)} held-out images, {name}, {row['class_name']}: {told}")


def _plain(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text, text)


if __name__ == "__main__":
    main()
