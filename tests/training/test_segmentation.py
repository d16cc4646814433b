"""Segmentation from masks on disk to class maps at the images' own size."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import jaccard_score
from torch import Tensor, nn

from snellen.data.facts import DataFacts
from snellen.errors import UseError
from snellen.findings.settings import LoadedSettings, Settings
from snellen.models.losses import cross_entropy, dice
from snellen.models.segmentation.dense_crf import CrfSettings
from snellen.training.batches import collate
from snellen.training.predict_maps import map_names, predict_maps, write_map
from snellen.training.recipe import Recipe
from snellen.training.recipe_defaults import default_recipe
from snellen.training.samples import Samples
from snellen.training.splits import split_examples
from snellen.training.tasks.segmentation import SegmentationTask, class_pixels
from snellen.training.trainer import train
from snellen.verbs.evaluate import evaluate, score_model
from snellen.verbs.exam import exam
from snellen.verbs.facts_for import facts_for
from snellen.verbs.fit_pipeline import fit_pipeline
from snellen.verbs.predict import predict
from snellen.verbs.scoring.maps import score_maps

COLOURS = np.array([[40, 40, 40], [220, 60, 60], [60, 60, 220]], np.uint8)
PLAIN: dict = {"task": "segmentation", "model": "unet", "image_size": 64}


def shapes(root: Path, count: int = 10, width: int = 96, height: int = 60, seed: int = 0) -> Path:
    """Images in which the colour of a pixel is its class, and index masks of them; a corner is not labelled."""
    rng = np.random.default_rng(seed)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        labels = np.zeros((height, width), np.uint8)
        for k in (1, 2):
            y, x = rng.integers(0, height - 24), rng.integers(0, width - 32)
            labels[y : y + 24, x : x + 32] = k
        noise = rng.integers(-12, 13, (height, width, 3))
        Image.fromarray((COLOURS[labels].astype(int) + noise).clip(0, 255).astype(np.uint8)).save(
            root / "images" / f"{i:02}.png"
        )
        labels[:6, :6] = 255
        Image.fromarray(labels).save(root / "masks" / f"{i:02}.png")
    return root


class Oracle(nn.Module):
    """Says the class whose colour is nearest; has one weight, so that it has a device."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(50.0))
        self.mean = torch.tensor(recipe.mean).view(1, 1, 3, 1, 1)
        self.std = torch.tensor(recipe.std).view(1, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW -> (N, 3, H, W)."""
        colours = torch.from_numpy(COLOURS).view(1, 3, 3, 1, 1) / 255
        return -self.sharpness * ((x[:, None] * self.std + self.mean - colours) ** 2).sum(dim=2)


def recipe_for(data: DataFacts, **overrides: object) -> Recipe:
    return default_recipe(data, **{"image_size": 64, "epochs": 2, "batch_size": 4, "warmup_steps": 2, **overrides})


@pytest.fixture
def data(tmp_path: Path) -> DataFacts:
    return facts_for(shapes(tmp_path / "data"))


def test_class_maps_are_scored_where_they_lie_in_the_image(data, tmp_path):
    recipe = recipe_for(data)
    assert (recipe.task, recipe.model) == ("segmentation", "unet")
    # 96 x 60 letterboxed into 64 x 64: a map that ignored the border or the scale would be far off.
    scored = score_model(Oracle(recipe), recipe, ["0", "1", "2"], data)
    assert scored.scores.task == "semantic"
    assert scored.scores.score("miou") > 0.93
    assert scored.scores.train_scores["miou"] > 0.93
    assert scored.scores.images == 2
    assert not len(scored.scores.problems)


def test_written_maps_score_as_the_model_does(data, tmp_path):
    recipe = recipe_for(data)
    model = Oracle(recipe)
    files = {image: Path(data.root) / image for image in data.images["image"]}
    for found in predict_maps(model, recipe, files, {}):
        assert found.labels.shape == (60, 96)
        assert found.probabilities is None
        write_map(tmp_path / "said" / Path(found.image).with_suffix(".png").name, found.labels)
    told = score_maps(tmp_path / "said", data, None, lambda *_: None)
    held_out = [e.image for e in split_examples(data, recipe.seed).val]
    direct = score_model(model, recipe, ["0", "1", "2"], data).scores
    mine = {r["image"]: r["iou"] for r in direct.predictions.to_dicts()}
    theirs = {r["image"]: r["iou"] for r in told.predictions.to_dicts()}
    assert set(mine) == set(held_out)
    assert all(theirs[image] == pytest.approx(iou) for image, iou in mine.items())


def test_probabilities_and_the_crf(data):
    recipe = recipe_for(data)
    model = Oracle(recipe)
    files = {image: Path(data.root) / image for image in data.images["image"][:2]}
    plain = list(predict_maps(model, recipe, files, {}, probabilities=True))
    assert all(p.probabilities is not None and p.probabilities.shape == (3, 60, 96) for p in plain)
    assert all(np.allclose(p.probabilities.sum(axis=0), 1, atol=1e-5) for p in plain)
    sharp = list(predict_maps(model, recipe, files, {}, crf=CrfSettings(iterations=3)))
    for before, after in zip(plain, sharp, strict=True):
        with Image.open(Path(data.root) / before.image.replace("images", "masks")) as image:
            true = np.asarray(image)
        known = true != 255
        # The image at its own size knows the edges that the input has blurred.
        assert (after.labels == true)[known].mean() > (before.labels == true)[known].mean()
        assert (after.labels == true)[known].mean() > 0.99


def test_outlines_of_objects_serve_as_masks(tmp_path):
    root = shapes(tmp_path, 6)
    document: dict = {"images": [], "annotations": []}
    document["categories"] = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    for i in range(6):
        labels = np.asarray(Image.open(root / "masks" / f"{i:02}.png"))
        document["images"].append({"id": i, "file_name": f"images/{i:02}.png", "width": 96, "height": 60})
        for k in (1, 2):
            ys, xs = np.nonzero(labels == k)
            if not len(ys) or (k == 1 and (labels == 2).sum() < 24 * 32):
                continue
            x1, y1, x2, y2 = (int(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
            outline = [[x1, y1, x2, y1, x2, y2, x1, y2]]
            box = [x1, y1, x2 - x1, y2 - y1]
            known = {"id": len(document["annotations"]) + 1, "image_id": i, "category_id": k, "iscrowd": 0}
            document["annotations"].append({**known, "bbox": box, "segmentation": outline, "area": box[2] * box[3]})
    for mask in (root / "masks").iterdir():
        mask.unlink()
    (root / "masks").rmdir()
    (root / "annotations.json").write_text(json.dumps(document))
    data = facts_for(root, "segmentation")
    recipe = recipe_for(data, task="segmentation")
    assert (data.task, recipe.model) == ("detection", "unet")
    scores = score_model(Oracle(recipe), recipe, ["background", "a", "b"], data).scores
    assert scores.task == "semantic"
    assert scores.score("miou") > 0.8


@pytest.mark.slow
def test_the_exam_ends_in_a_report(tmp_path):
    root = shapes(tmp_path / "data", 8)
    settings = LoadedSettings(Settings(), "defaults", tmp_path)
    result = exam(
        root,
        out=tmp_path / "run",
        settings=settings,
        cache=False,
        preflight=False,
        epochs=1,
        image_size=32,
        batch_size=3,
    )
    assert result.scores is not None
    assert result.run is not None
    assert (result.scores.task, result.run.metric_name, result.run.loss_kind) == ("semantic", "mIoU", "ce+dice")
    assert result.run.initial_loss_expected == pytest.approx(result.run.steps["loss"][0], rel=0.1)
    assert "boundary" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_images_that_cannot_be_read_are_told_of(data, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    recipe = recipe_for(data)
    unreadable: dict[str, str] = {}
    assert list(predict_maps(Oracle(recipe), recipe, {"broken": tmp_path / "broken.png"}, unreadable)) == []
    assert list(unreadable) == ["broken"]


def test_training_learns_and_predicts(data, tmp_path):
    recipe = recipe_for(data, epochs=8, batch_size=2, image_size=48, jitter_scale=0.0)
    trained = train(data, recipe, tmp_path / "run")
    metrics = trained.epochs["metric"].to_list()
    assert max(metrics) > 0.7
    assert trained.epochs["val_loss"][-1] < trained.epochs["val_loss"][0]
    settings = LoadedSettings(Settings(), "defaults", tmp_path)
    scores = evaluate(tmp_path / "run", Path(data.root), settings=settings).scores
    assert scores is not None
    assert scores.learned_images == 0
    assert scores.score("miou") == pytest.approx(max(metrics), abs=0.08)  # the metric is taken at the input's size

    table = predict(tmp_path / "run", [Path(data.root) / "images"], masks=tmp_path / "masks")
    assert set(table.columns) == {"image", "class_name", "share", "mask", "error"}
    assert table["image"].n_unique() == 10
    assert table["share"].sum() == pytest.approx(10)
    with Image.open(tmp_path / "masks" / "03.png") as image:
        assert (image.mode, image.size) == ("P", (96, 60))
        assert set(np.unique(np.asarray(image))) <= {0, 1, 2}
    with (tmp_path / "masks" / "classes.csv").open() as file:
        assert [row["class_name"] for row in csv.DictReader(file)] == ["0", "1", "2"]
    with pytest.raises(UseError, match="draws class maps"):
        fit_pipeline(tmp_path / "run", Path(data.root))


def test_a_resumed_run_has_the_very_losses_of_one_that_was_not_stopped(data, tmp_path):
    recipe = recipe_for(data, epochs=2, loss="lovasz", class_weights="balanced", flip=True)

    def losses(run: Path) -> list[str]:
        return [line.split('"loss": ')[1] for line in (run / "steps.jsonl").read_text().splitlines()]

    train(data, recipe, tmp_path / "whole")

    def stop(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "train" and done == 3:
            raise KeyboardInterrupt

    assert train(data, recipe, tmp_path / "cut", progress=stop).stop_reason == "interrupted"
    train(data, recipe, tmp_path / "cut", resume=True)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_the_task(data):
    split = split_examples(data, 0)
    recipe = recipe_for(data, loss="ce+dice", class_weights="balanced", label_smoothing=0.1)
    samples = Samples(Path(data.root), split.val, recipe, augment=False)
    counted = class_pixels(samples, 3)
    pixels = counted.sum(axis=0).tolist()
    task = SegmentationTask(recipe, split.class_names, counted, counted)
    batch = collate([samples[i] for i in range(len(samples))])
    targets = task.targets(batch)
    assert targets.dtype == torch.int64
    assert pixels == [int((targets == k).sum()) for k in range(3)]
    assert (targets == 255).any()
    logits = torch.randn(len(targets), 3, 64, 64, generator=torch.Generator().manual_seed(0))
    terms = task.loss(logits, targets).terms
    weights = torch.tensor([sum(pixels) / (3 * n) for n in pixels])
    expected = cross_entropy(logits, targets, class_weights=weights, label_smoothing=0.1)
    assert torch.allclose(terms["ce"].total, expected.total)
    assert torch.allclose(terms["dice"].total, dice(logits, targets, class_weights=weights).total)
    known = targets != 255
    judged = task.judgeable(logits, targets, ["a", "b"])
    expected_iou = jaccard_score(targets[known], logits.argmax(dim=1)[known], average="macro")
    assert task.metric(judged) == pytest.approx(expected_iou)
    constant = max(n / sum(pixels) for n in pixels) / 3
    assert task.baseline_metric == pytest.approx(constant)
    assert task.metric([]) is None


def test_two_classes_of_which_one_is_background_are_judged_by_the_other():
    recipe = Recipe.build(PLAIN)
    task = SegmentationTask(recipe, ["background", "cell"], None, np.array([[40, 20], [35, 5]]))
    assert (task.metric_name, task.loss_kind) == ("foreground IoU", "cross-entropy")
    assert task.baseline_metric == pytest.approx(0.25)
    assert task.initial_loss_expected == pytest.approx(np.log(2))
    assert task.metric([[[60, 15], [5, 20]]]) == pytest.approx(20 / 40)
    other = SegmentationTask(recipe, ["road", "car"], None, np.array([[40, 20], [35, 5]]))
    assert (other.metric_name, other.baseline_metric) == ("mIoU", pytest.approx(0.375))
    assert other.metric([[[60, 15], [5, 20]]]) == pytest.approx((60 / 80 + 20 / 40) / 2)
    with pytest.raises(UseError, match="needs labelled pixels"):
        SegmentationTask(recipe.vary(class_weights="sqrt"), ["background", "cell"])


def test_masks_of_0_and_255_are_known_by_their_pixels(tmp_path):
    shapes(tmp_path, 5)
    for mask in (tmp_path / "masks").iterdir():
        labels = np.asarray(Image.open(mask))
        Image.fromarray(((labels == 1) * 255).astype(np.uint8)).save(mask)
    data = facts_for(tmp_path)
    split = split_examples(data)
    assert split.class_names == ["background", "foreground"]
    samples = Samples(tmp_path, split.train, recipe_for(data), augment=False)
    assert class_pixels(samples, 2).min() > 0


def test_names_of_written_maps():
    assert map_names(["/a/b/1.png", "/a/b/c/2.jpg"]) == {"/a/b/1.png": "1.png", "/a/b/c/2.jpg": "c/2.png"}
    assert map_names(["x/1.png", "x/1.jpg"]) == {"x/1.png": "1.png.png", "x/1.jpg": "1.jpg.png"}
    assert map_names(["1.png"]) == {"1.png": "1.png"}
    assert map_names(["v.mp4#t=12.500"]) == {"v.mp4#t=12.500": "v.mp4#t=12.500.png"}
