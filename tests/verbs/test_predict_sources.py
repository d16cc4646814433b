"""What `predict` takes besides images, and what it writes besides a table."""

import json
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import snellen
from snellen.errors import UseError
from snellen.models import create
from snellen.training import checkpoint
from snellen.training.recipe import Recipe
from snellen.training.run_folder import RunFolder, write_model
from snellen.verbs.pseudo_labels import pseudo_label


def run_of(path: Path, task: str, names: list[str]) -> Path:
    """A run folder whose network has random weights."""
    torch.manual_seed(0)
    name = "ssdlite" if task == "detection" else "small-resnet"
    recipe = Recipe(task=task, model=name, image_size=64)  # type: ignore[arg-type]
    model = create(name, task=task, num_classes=len(names), image_size=64)
    folder = RunFolder(path)
    path.mkdir()
    folder.recipe.write_text(recipe.to_toml())
    write_model(folder, names, getattr(model, "anchor_sides", None))
    folder.best.parent.mkdir()
    checkpoint.save_atomically({"format": 1, "model": model.state_dict(), "epoch": 0, "metric": 0.5}, folder.best)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{100 + i:06d}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def test_detections_become_coco_json_and_pictures(tmp_path: Path, pictures: Path) -> None:
    run = run_of(tmp_path / "run", "detection", ["cat", "dog"])
    (pictures / "broken.png").unlink()
    table = snellen.predict(run, [pictures], threshold=0.001, coco=tmp_path / "out.json", draw=tmp_path / "drawn")
    written = json.loads((tmp_path / "out.json").read_text())
    assert [image["id"] for image in written["images"]] == [100, 101, 102]
    assert (written["images"][0]["width"], written["images"][0]["height"]) == (64, 48)
    assert len(written["annotations"]) == len(table) > 0
    one, row = written["annotations"][0], table.row(0, named=True)
    assert one["bbox"] == pytest.approx([row["x1"], row["y1"], row["x2"] - row["x1"], row["y2"] - row["y1"]], abs=0.02)
    assert written["categories"][one["category_id"] - 1]["name"] == row["class_name"]
    drawn = sorted((tmp_path / "drawn").iterdir())
    assert [p.name for p in drawn] == ["000100.jpg", "000101.jpg", "000102.jpg"]
    with Image.open(drawn[0]) as picture:
        assert picture.size == (64, 48)
    with pytest.raises(UseError, match="already holds something"):
        snellen.predict(run, [pictures], draw=tmp_path / "drawn")
    with pytest.raises(UseError, match="is there already"):
        snellen.predict(run, [pictures], coco=tmp_path / "out.json")


def test_a_video_is_predicted_frame_by_frame(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "classification", ["cat", "dog"])
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for i in range(25):
        writer.write(np.full((48, 64, 3), 10 * i, np.uint8))
    writer.release()
    table = snellen.predict(run, [clip], every=1.0, draw=tmp_path / "drawn")
    assert table["image"].to_list() == [f"{clip}#t={t:.3f}" for t in (0, 1, 2)]
    assert set(table["class_name"]) <= {"cat", "dog"}
    assert len(list((tmp_path / "drawn").iterdir())) == 3


def test_pseudo_labels_are_a_dataset(tmp_path: Path, pictures: Path) -> None:
    run = run_of(tmp_path / "run", "classification", ["cat", "dog"])
    done = pseudo_label(run, [pictures], tmp_path / "labelled", threshold=0.0)
    assert (done.images, done.left_out, done.labels) == (3, 1, 3)
    told = snellen.predict(run, [pictures], threshold=0.0).filter(pl.col("class_name").is_not_null())
    for image, name in told.select("image", "class_name").iter_rows():
        assert (tmp_path / "labelled" / name / Path(image).name).read_bytes() == Path(image).read_bytes()
    unsure = pseudo_label(run, [pictures], tmp_path / "unsure", threshold=1.0)
    assert (unsure.images, unsure.left_out) == (0, 4)

    detector = run_of(tmp_path / "detector", "detection", ["cat", "dog"])
    done = pseudo_label(detector, [pictures], tmp_path / "boxes", threshold=0.001)
    facts = snellen.check(tmp_path / "boxes" / "annotations.json").data
    assert facts is not None
    assert facts.boxes.height == done.labels
    assert set(facts.images["exists"]) == {True}
