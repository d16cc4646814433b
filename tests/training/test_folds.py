"""Folds and bags: who is held out, who is drawn, and several runs as one."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from snellen.data.facts import DataFacts
from snellen.errors import UseError
from snellen.training import Recipe
from snellen.training.ensemble import Ensemble
from snellen.training.folds import split_of
from snellen.training.members import FILE
from snellen.training.predict import load_run, predict
from snellen.training.splits import SamplesError
from snellen.verbs.train_many import train_many
from tests.training.subjects import digit_images, with_split

RECIPE = Recipe(task="classification", model="small-resnet", image_size=32)


def test_every_image_is_held_out_once_and_every_class_in_every_fold(tmp_path: Path) -> None:
    data = digit_images(tmp_path, 100, side=8)
    splits = [split_of(data, RECIPE.vary(folds=4, fold=k)) for k in range(4)]
    held = [{e.image for e in s.val} for s in splits]
    assert sorted(image for part in held for image in part) == sorted(data.images["image"])
    assert {len(part) for part in held} == {25}
    for split in splits:
        assert not {e.image for e in split.train} & {e.image for e in split.val}
        counts = np.bincount([e.label for e in split.val], minlength=10)
        assert 1 <= counts.min() <= counts.max() <= 4
        told = dict(split.ledger.select("image", "split").iter_rows())
        assert told == {e.image: part for part in ("train", "val") for e in getattr(split, part)}
    again = split_of(data, RECIPE.vary(folds=4, fold=2))
    assert [e.image for e in again.val] == [e.image for e in splits[2].val]


def test_copies_stay_in_one_fold_and_test_images_out_of_all(tmp_path: Path) -> None:
    data = digit_images(tmp_path, 60, side=8)
    images = data.images.with_columns(
        pl.Series("hash", [f"{i % 20:032x}" for i in range(60)]),
        split=pl.when(pl.arange(60) < 40).then(pl.lit("train")).when(pl.arange(60) < 50).then(pl.lit("val"))
        .otherwise(pl.lit("test")),
    )  # fmt: skip
    data = DataFacts(**{**vars(data), "images": images})
    hashes = dict(images.select("image", "hash").iter_rows())
    for k in range(3):
        split = split_of(data, RECIPE.vary(folds=3, fold=k))
        assert not {hashes[e.image] for e in split.train} & {hashes[e.image] for e in split.val}
        assert len(split.train) + len(split.val) == 50
        assert split.ledger.filter(~pl.col("used"))["reason"].unique().to_list() == ["kept for testing"]


def test_fewer_images_than_folds_is_an_error_of_use(tmp_path: Path) -> None:
    with pytest.raises(SamplesError, match="4 different images cannot be divided into 5 folds"):
        split_of(with_split(digit_images(tmp_path, 4, side=8), 0.5), RECIPE.vary(folds=5))


def test_a_bag_draws_with_replacement_and_says_whom_it_missed(tmp_path: Path) -> None:
    data = with_split(digit_images(tmp_path, 100, side=8))
    bags = [split_of(data, RECIPE.vary(bags=3, bag=k)) for k in range(3)]
    for bag in bags:
        drawn = [e.image for e in bag.train]
        assert len(drawn) == 80
        assert 0.5 < len(set(drawn)) / 80 < 0.75  # 1 - 1/e = 0.63 expected
        assert [e.image for e in bag.val] == data.images.filter(split="val")["image"].to_list()
        used = bag.ledger.filter(pl.col("used") & (pl.col("split") == "train"))["image"]
        assert set(used) == set(drawn)
        assert bag.ledger.height == 100
        missed = bag.ledger.filter(~pl.col("used"))
        assert missed["reason"].str.contains("not drawn").all()
    assert [e.image for e in bags[0].train] != [e.image for e in bags[1].train]


def test_several_runs_have_a_mean_and_predict_together(tmp_path: Path) -> None:
    data = tmp_path / "data"
    facts = digit_images(data, 48, side=16)
    options = {"image_size": 32, "epochs": 1, "batch_size": 8, "preflight": False}

    def impatient(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "train" and len(list((tmp_path / "runs").glob("fold-*"))) == 2 and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(Exception, match="stopped"):
        train_many(data, folds=2, out=tmp_path / "runs", progress=impatient, **options)
    with pytest.raises(UseError, match="holds 2 folds, not 3 folds"):
        train_many(data, folds=3, out=tmp_path / "runs", resume=True, **options)
    done = train_many(data, folds=2, out=tmp_path / "runs", resume=True, **options)
    scores = list(done.scores.values())
    assert done.mean == pytest.approx(np.mean(scores))
    assert done.spread == pytest.approx(np.std(scores, ddof=1))
    assert "+-" in str(done)
    assert json.loads((tmp_path / "runs" / FILE).read_text())["mean"] == done.mean
    model, recipe, names = load_run(tmp_path / "runs")
    assert isinstance(model, Ensemble)
    files = {name: data / name for name in facts.images["image"][:6]}
    told = predict(model, recipe, names, files).probabilities
    single = [predict(*load_run(tmp_path / "runs" / f"fold-{k}"), files).probabilities for k in (1, 2)]
    assert np.allclose(told, np.mean(single, axis=0), atol=1e-6)


def test_several_runs_are_two_or_more(tmp_path: Path) -> None:
    with pytest.raises(UseError, match="two or more"):
        train_many(tmp_path, folds=1)
    with pytest.raises(UseError, match="name the model"):
        train_many(tmp_path, bags=2, model=torch.nn.Linear(2, 2))
