"""What the network gets to see."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from snellen.data.decoding import decode
from snellen.data.facts import DataFacts
from snellen.training.pixels import fit_frame
from snellen.training.recipe_defaults import default_recipe
from snellen.training.samples import Sample, Samples, augmented, epoch_batches
from snellen.training.splits import SamplesError, split_examples
from tests.training.subjects import digit_images, digit_scenes, with_split


def test_every_image_of_an_epoch_comes_once_and_batches_are_even() -> None:
    batches = epoch_batches(103, 16, seed=3, epoch=5)
    assert sorted(np.concatenate(batches).tolist()) == list(range(103))
    assert {len(b) for b in batches} <= {17, 18}
    again = epoch_batches(103, 16, seed=3, epoch=5)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))
    assert not (batches[0] == epoch_batches(103, 16, seed=3, epoch=6)[0]).all()


def test_what_is_drawn_of_an_image_is_decided_by_seed_epoch_and_row(tmp_path: Path) -> None:
    data = digit_scenes(tmp_path, 6, side=64)
    recipe = default_recipe(data, image_size=64)
    examples = split_examples(data).train
    samples = Samples(tmp_path, examples, recipe, augment=True)
    first = [samples[i].seed for i in range(len(samples))]
    assert len(set(first)) == len(first)
    assert [samples[i].seed for i in reversed(range(len(samples)))] == first[::-1]
    samples.epoch = 1
    assert samples[0].seed not in first
    assert Samples(tmp_path, examples, recipe, augment=False)[0].seed is None


def test_the_ledger_accounts_for_every_image(tmp_path: Path) -> None:
    data = digit_images(tmp_path, 60)
    images = data.images.with_columns(
        class_name=pl.when(pl.arange(60) == 7).then(pl.lit("no such class")).otherwise("class_name"),
        decoded=pl.when(pl.arange(60) == 9).then(pl.lit(False)),
        exists=pl.when(pl.arange(60) != 11).then("exists"),
    )
    (tmp_path / data.images["image"][11]).unlink()
    split = split_examples(DataFacts(**{**vars(data), "images": images}))
    assert len(split.ledger) == 60
    left_out = split.ledger.filter(~pl.col("used"))
    assert set(left_out["image"]) == {data.images["image"][i] for i in (7, 9, 11)}
    assert left_out["reason"].null_count() == 0
    assert len(split.train) + len(split.val) == 57
    shares = {e.label for e in split.val}
    assert len(shares) >= 8  # held out within each class


def test_a_declared_split_is_kept(tmp_path: Path) -> None:
    data = with_split(digit_scenes(tmp_path, 20))
    split = split_examples(data)
    assert [e.image for e in split.val] == data.images.filter(split="val")["image"].to_list()


def test_copies_of_one_picture_go_to_one_part(tmp_path: Path) -> None:
    data = digit_images(tmp_path, 60)
    pairs = pl.Series("hash", [f"{i % 30:032x}" for i in range(60)])
    split = split_examples(DataFacts(**{**vars(data), "images": data.images.with_columns(pairs)}))
    part = {e.image: which for which, examples in (("train", split.train), ("val", split.val)) for e in examples}
    assert len(part) == 60
    names = data.images["image"].to_list()
    assert all(part[names[i]] == part[names[i + 30]] for i in range(30))
    assert 6 <= len(split.val) <= 18


def test_a_file_outside_the_dataset_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    data = digit_images(tmp_path / "data", 30)
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    images = data.images.with_columns(
        image=pl.when(pl.arange(30) == 0).then(pl.lit("../secret.png")).otherwise("image")
    )
    split = split_examples(DataFacts(**{**vars(data), "images": images}))
    assert "outside" in split.ledger.filter(image="../secret.png")["reason"][0]


def test_nothing_usable_is_an_error_of_use(tmp_path: Path) -> None:
    data = digit_images(tmp_path, 10)
    empty = DataFacts(**{**vars(data), "images": data.images.clear()})
    with pytest.raises(SamplesError, match="nothing to train on"):
        split_examples(empty)


def test_boxes_stay_on_their_objects_under_augmentation(tmp_path: Path) -> None:
    data = digit_scenes(tmp_path, 12)
    recipe = default_recipe(data, jitter_scale=0.4, jitter_colour=0.0, flip=True)
    size = recipe.image_size
    image = torch.zeros(3, size, size, dtype=torch.uint8)
    image[:, 30:70, 20:90] = 255
    sample = Sample(image, torch.tensor([[20.0, 30.0, 90.0, 70.0]]), torch.tensor([3]))
    for seed in range(40):
        out, boxes, labels, *_ = augmented(sample, recipe, np.random.default_rng(seed))
        assert out.shape == image.shape
        assert labels.tolist() == [3]
        rows, columns = torch.nonzero(out[0] > 180, as_tuple=True)
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(boxes[0].numpy() - np.array(seen, dtype=np.float32)).max() <= 1.5


def test_a_sample_depends_on_seed_epoch_and_index_alone(tmp_path: Path) -> None:
    data = digit_scenes(tmp_path, 12)
    recipe = default_recipe(data)
    split = split_examples(data)
    one = Samples(tmp_path, split.train, recipe, augment=True)
    two = Samples(tmp_path, split.train, recipe, augment=True)
    torch.manual_seed(5)
    first = one[3]
    two[0], two[5]
    torch.manual_seed(6)
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(first[:4], two[3][:4], strict=True))
    assert first.seed == two[3].seed
    two.epoch = 1
    assert not torch.equal(first[0], two[3][0])


def test_exif_rotation_is_applied_and_odd_modes_are_read(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 20), (255, 0, 0))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert decode(tmp_path / "turned.jpg").shape == (40, 20, 3)
    Image.fromarray(np.full((4, 4), 65535, np.uint16)).save(tmp_path / "deep.png")
    assert decode(tmp_path / "deep.png").min() == 255
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (decode(tmp_path / "clear.png") == 114).all()


def test_letterbox_keeps_the_ratio() -> None:
    frame, sx, sy = fit_frame(np.zeros((50, 100, 3), np.uint8), 64, keep_ratio=True)
    assert (sx, sy) == (0.64, 0.64)
    assert (frame[:, :32] == 0).all()
    assert (frame[:, 32:] == 114).all()
