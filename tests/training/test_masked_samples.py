"""Masks and class maps that the network learns from lie on what is drawn, whatever they are written as."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_masks
from torch.utils.data import DataLoader

from snellen.data.examine import examine
from snellen.data.facts import DataFacts
from snellen.training.recipe import Recipe
from snellen.training.recipe_defaults import default_recipe
from snellen.training.samples import Sample, Samples, collate
from snellen.training.splits import SamplesError, split_examples

SIDE = 64
NAMES = ["square", "disc"]
COLOURS = [(220, 30, 30), (30, 30, 220)]


def scene(rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray], list[list[float]]]:
    """A picture of 96 x 64 pixels with a red rectangle and a blue disc on green; their masks; the rectangle's ring."""
    picture = np.full((64, 96, 3), (20, 120, 20), np.uint8)
    x, y, w, h = (
        int(v) for v in (rng.integers(2, 10), rng.integers(2, 10), rng.integers(20, 34), rng.integers(20, 40))
    )
    masks = [np.zeros((64, 96), np.uint8) for _ in NAMES]
    masks[0][y : y + h, x : x + w] = 1
    cv2.circle(masks[1], (int(rng.integers(62, 74)), int(rng.integers(22, 40))), int(rng.integers(11, 18)), 1, -1)
    for mask, colour in zip(masks, COLOURS, strict=True):
        picture[mask > 0] = colour
    return picture, masks, [[x, y, x + w, y, x + w, y + h, x, y + h]]


def coco_set(root: Path, count: int) -> DataFacts:
    """Rectangles as polygons, discs as run lengths, and in the first image a crowd."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    (root / "images").mkdir(parents=True)
    for i in range(count):
        picture, masks, ring = scene(rng)
        Image.fromarray(picture).save(root / "images" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 96, "height": 64})
        runs = coco_masks.encode(np.asfortranarray(masks[1]))
        shapes: list[Any] = [ring, {"size": [64, 96], "counts": runs["counts"].decode()}]
        for k, (mask, shape) in enumerate(zip(masks, shapes, strict=True)):
            rows, columns = np.nonzero(mask)
            x, y = int(columns.min()), int(rows.min())
            box = [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y]
            annotations.append(
                {"id": len(annotations), "image_id": i, "category_id": k, "bbox": box, "segmentation": shape}
                | {"area": int(mask.sum()), "iscrowd": int(i == 0 and k == 1)}
            )
    categories = [{"id": k, "name": name} for k, name in enumerate(NAMES)]
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    (root / "instances.json").write_text(text)
    return examine(root, cache=False)


def mask_set(root: Path, count: int, values: list[int], colours: bool = False) -> DataFacts:
    """Pictures and index masks with `values` for ground, rectangle and disc, or masks in colour."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for i in range(count):
        picture, masks, _ = scene(rng)
        Image.fromarray(picture).save(root / "images" / f"{i}.png")
        drawn = np.full((64, 96), values[0], np.uint8)
        for mask, value in zip(masks, values[1:], strict=False):
            drawn[mask > 0] = value
        Image.fromarray(picture if colours else drawn).save(root / "masks" / f"{i}.png")
    return examine(root, cache=False)


def shown(sample: Sample, k: int) -> torch.Tensor:
    """Pixels nearer to the k-th class's colour than to that of the other, of the ground and of the letterbox."""
    seen = torch.tensor([*COLOURS, (20, 120, 20), (114, 114, 114)])
    return (sample.image.int() - seen[:, :, None, None]).abs().sum(dim=1).argmin(dim=0) == k


def overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> DataFacts:
    return coco_set(tmp_path_factory.mktemp("data") / "coco", 10)


def masked(data: DataFacts, **changes: Any) -> Recipe:
    still = {"jitter_scale": 0.0, "jitter_colour": 0.0, "image_size": SIDE}
    return default_recipe(data, **({"model": "mask-rcnn"} | still | changes))


def test_instance_masks_lie_on_their_objects(instances: DataFacts) -> None:
    split = split_examples(instances)
    everything = split.train + split.val
    kept = Samples(Path(instances.root), everything, masked(instances), augment=False)
    loaded = Samples(Path(instances.root), everything, masked(instances), augment=False, cache_bytes=0)
    for i, example in enumerate(everything):
        sample = kept[i]
        assert sample.masks is not None
        assert sample.masks.dtype == torch.bool
        assert sample.masks.shape == (len(sample.boxes), SIDE, SIDE)
        assert sample.labels.tolist() == ([0] if example.image.endswith("/0.png") else [0, 1])
        for k, mask in zip(sample.labels.tolist(), sample.masks, strict=True):
            assert overlap(mask, shown(sample, k)) > 0.9
        assert all(torch.equal(a, b) for a, b in zip(sample[:4], loaded[i][:4], strict=True))
    batch = collate([kept[0], kept[1]])
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    plain = Samples(Path(instances.root), everything, masked(instances, model="ssdlite"), augment=False)
    assert plain[0].masks is None


def test_boxes_of_turned_objects_are_those_of_their_outlines(instances: DataFacts) -> None:
    recipe = masked(instances, model="ssdlite", rotate=45.0)
    samples = Samples(Path(instances.root), split_examples(instances).train, recipe, augment=True)
    discs = 0
    for sample in (samples[i] for i in range(len(samples))):
        assert sample.masks is None
        for box in sample.boxes[sample.labels == 1].tolist():
            whole = box[0] > 1 and box[1] > 1 and box[2] < SIDE - 1 and box[3] < SIDE - 1
            rows, columns = torch.nonzero(shown(sample, 1), as_tuple=True)
            seen = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert not whole or (torch.tensor(box) - seen).abs().max() <= 1.5  # a disc's box does not grow as it turns
            discs += whole
    assert discs > 3


@pytest.mark.parametrize("mixed", [{"mosaic": 1.0}, {"copy_paste": 1.0}, {"mosaic": 0.5, "copy_paste": 0.5}])
def test_masks_stay_on_their_objects_however_images_are_mixed(instances: DataFacts, mixed: dict[str, float]) -> None:
    recipe = masked(instances, flip=True, rotate=20.0, jitter_scale=0.2, **mixed)
    samples = Samples(Path(instances.root), split_examples(instances).train, recipe, augment=True)
    for i in range(len(samples)):
        sample = samples[i]
        assert sample.masks is not None
        assert len(sample.masks) == len(sample.boxes) == len(sample.labels)
        for k in range(2):
            mine = sample.masks[sample.labels == k].any(dim=0)
            if mine.sum() > 300 and (i > 0 or k == 0):  # the crowd is in sight and not told of
                assert (mine & shown(sample, k)).sum() / mine.sum() > 0.8


def test_rows_are_the_same_whoever_loads_them(instances: DataFacts) -> None:
    recipe = masked(instances, mosaic=0.5, copy_paste=0.5, noise=0.1, erase=0.5, sampler="class-balanced")
    split = split_examples(instances)
    one = Samples(Path(instances.root), split.train, recipe, augment=True)
    other = Samples(Path(instances.root), split.train, recipe, augment=True, cache_bytes=0)
    one.epoch = other.epoch = 3
    count = len(one)
    rows = [int(r) for part in one.batches(3) for r in part]
    assert [len(b) for b in one.batches(3)] == [len(b) for b in one.batches(4)]
    loader = DataLoader(other, batch_sampler=[rows], num_workers=1, collate_fn=list)
    for row, loaded in zip(rows, next(iter(loader)), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[row][:4], loaded[:4], strict=True))
        assert one[row].seed == loaded.seed
    assert not torch.equal(one[0].image, one[count].image)  # a second copy is augmented otherwise


@pytest.mark.parametrize(
    ("values", "colours"), [([0, 1, 2], False), ([0, 255, 0], False), ([255, 1, 2], False), ([0, 0, 0], True)]
)
def test_class_maps_of_masks(values: list[int], colours: bool, tmp_path: Path) -> None:
    data = mask_set(tmp_path / "set", 6, values, colours)
    split = split_examples(data)
    recipe = default_recipe(data, image_size=SIDE)
    assert recipe.task == "segmentation"
    samples = Samples(Path(data.root), split.train, recipe, augment=False)
    colour_ids = {"#dc1e1e": 0, "#1e1edc": 1}
    for sample in (samples[i] for i in range(len(samples))):
        classes = sample.masks
        assert classes is not None
        assert classes.dtype == torch.uint8
        letterbox = round(64 * SIDE / 96)
        assert (classes[letterbox:] == 255).all()
        if values[0] == 255:
            assert overlap(classes[:letterbox] == 255, (sample.image[1] > 100)[:letterbox]) > 0.9
        elif not colours:
            assert (classes[:letterbox] != 255).all()
        for k in range(2 if values[2] or colours else 1):
            name = next((n for n, c in colour_ids.items() if c == k), "") if colours else None
            wanted = split.class_names.index(name) if name else split.class_names.index(_named(values, k))
            assert overlap(classes == wanted, shown(sample, k)) > 0.9


def _named(values: list[int], k: int) -> str:
    return "foreground" if values == [0, 255, 0] else str(values[k + 1])


def test_class_maps_painted_from_outlines(instances: DataFacts) -> None:
    split = split_examples(instances, task="segmentation")
    assert split.class_names == ["background", *NAMES]
    recipe = default_recipe(instances, task="segmentation", image_size=SIDE)
    for part in (split.train, split.val):
        samples = Samples(Path(instances.root), part, recipe, augment=False)
        for sample, example in zip((samples[i] for i in range(len(samples))), part, strict=True):
            assert sample.masks is not None
            assert overlap(sample.masks == 1, shown(sample, 0)) > 0.9
            crowd = example.image.endswith("/0.png")
            blue = sample.masks[shown(sample, 1)]
            assert float((blue == (255 if crowd else 2)).float().mean()) > 0.95


def test_a_mask_that_cannot_be_read_leaves_its_image_out(tmp_path: Path) -> None:
    data = mask_set(tmp_path / "set", 8, [0, 1, 2])
    split = split_examples(data)
    broken = split.train[0].class_map
    assert broken is not None
    (Path(data.root) / str(broken.file)).write_bytes(b"no picture")
    samples = Samples(Path(data.root), split.train, default_recipe(data, image_size=SIDE), augment=True)
    assert list(samples.unreadable) == [split.train[0].image]
    assert len(samples) == len(split.train) - 1


def test_what_task_or_dataset_cannot_give_is_refused(instances: DataFacts, tmp_path: Path) -> None:
    split = split_examples(instances)
    root = Path(instances.root)
    for changes, told in (
        ({"mixup": 0.2}, "mixup: for classification only"),
        ({"sampler": "weighted", "sampler_weights": (1.0, 2.0, 3.0)}, "3 weights for 2 classes"),
    ):
        with pytest.raises(SamplesError, match=told):
            Samples(root, split.train, masked(instances, **changes), augment=True)
    bare = DataFacts(**{**vars(instances), "outlines": instances.outlines.clear()})
    with pytest.raises(SamplesError, match="has boxes only"):
        Samples(root, split_examples(bare).train, masked(bare), augment=True)
    with pytest.raises(SamplesError, match="nothing to train on"):
        split_examples(bare, task="segmentation")
