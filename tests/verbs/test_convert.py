"""`convert` writes a whole folder or none, nothing outside of it, and counts what the target cannot hold."""

import json
import os
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from snellen.cli.app import app
from snellen.data.dataset_error import DatasetError
from snellen.data.examine import examine
from snellen.data.writers import save as saving
from snellen.data.writers.formats import FORMATS, writer
from snellen.data.writers.losses import Losses
from snellen.errors import UseError
from snellen.progress import silent
from snellen.verbs.convert import convert
from tests.rules.data_injections import classification, detection


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_images_are_carried_byte_for_byte_and_the_source_stays_as_it_was(tmp_path: Path) -> None:
    source = detection(tmp_path)
    before = contents(source)
    done = convert(source, tmp_path / "copied", to="yolo")
    linked = convert(source, tmp_path / "linked", to="yolo", images="link")
    assert contents(source) == before
    for image, place in done.moved.items():
        assert (tmp_path / "copied" / place).read_bytes() == before[image]
        assert os.path.samefile(tmp_path / "linked" / place, source / image)
    assert linked.files["image_files"] == 72 == done.images
    bare = convert(source, tmp_path / "bare", to="coco", images="none")
    assert bare.files == {"annotation_files": 2, "image_files": 0}


def test_what_cannot_be_held_is_counted_and_written_down(tmp_path: Path) -> None:
    source = detection(tmp_path)
    path = source / "train.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["category_id"] = 99
    document["annotations"][1]["iscrowd"] = 1
    document["annotations"][2]["bbox"][2] = 0
    path.write_text(json.dumps(document))
    done = convert(source, tmp_path / "yolo", to="yolo")
    losses = {loss["kind"]: loss for loss in done.losses}
    assert losses["boxes-of-unknown-class"]["count"] == 1
    assert losses["boxes-of-unknown-class"]["examples"] == ["train.json:1"]
    assert losses["crowd-flags"]["count"] == 1
    assert losses["unusable-boxes"]["what"] == "unusable boxes are kept as they are"
    assert "1  crowd flags are lost (e.g. train.json:2)" in str(done)
    written = json.loads((tmp_path / "yolo" / "conversion.json").read_text())
    assert written["losses"] == done.losses


def test_a_target_that_is_not_free_is_left_alone(tmp_path: Path) -> None:
    source = detection(tmp_path)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    with pytest.raises(UseError, match="already holds something"):
        convert(source, taken, to="voc")
    with pytest.raises(UseError, match="inside of the dataset"):
        convert(source, source / "voc", to="voc")
    beside = tmp_path / "free.partial"
    beside.mkdir()
    with pytest.raises(UseError, match="is in the way"):
        convert(source, tmp_path / "free", to="voc")
    assert list(beside.iterdir()) == []
    assert [p.name for p in taken.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert convert(source, tmp_path / "empty", to="voc").images == 72


def test_a_conversion_that_is_killed_leaves_no_target_and_the_next_one_clears_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = detection(tmp_path), tmp_path / "target"
    (tmp_path / "target.partial").mkdir()
    (tmp_path / "target.partial" / saving.MARK).touch()
    (tmp_path / "target.partial" / "half.json").touch()

    def broken(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(saving, "carry", broken)
        with pytest.raises(KeyboardInterrupt):
            convert(source, target, to="coco")
    assert not target.exists()
    convert(source, target, to="coco")
    assert sorted(p.name for p in target.iterdir()) == ["conversion.json", "images", "train.json", "val.json"]
    assert not (tmp_path / "target.partial").exists()


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "images/../../out.png"])
@pytest.mark.parametrize("form", sorted(FORMATS))
def test_no_name_leads_out_of_the_target(form: str, name: str, tmp_path: Path) -> None:
    make = detection if "objects" in FORMATS[form][1] else classification
    facts = examine(make(tmp_path), cache=False)
    first = facts.images["image"][0]
    facts = replace(
        facts,
        images=facts.images.with_columns(image=pl.col("image").replace(first, name)),
        boxes=facts.boxes.with_columns(image=pl.col("image").replace(first, name)),
    )
    if form == "yolo-pose":
        pytest.skip("the scenes have no keypoints")
    losses = Losses()
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    saving.save(facts, writer(form)(facts, losses), target, "copy", losses, silent)
    assert not (tmp_path / "deep" / "out.png").exists()
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["target"]


def test_a_format_that_cannot_hold_the_dataset_is_refused_with_those_that_can(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds classes, which cannot be written as voc; these can hold them: class"):
        convert(classification(tmp_path), tmp_path / "voc", to="voc")
    with pytest.raises(UseError, match="no format to write; known are coco, voc"):
        convert(tmp_path / "classification", tmp_path / "voc", to="yaml")
    assert not (tmp_path / "voc").exists()


def test_class_folders_of_boxes_keep_images_of_one_class(tmp_path: Path) -> None:
    done = convert(detection(tmp_path), tmp_path / "folders", to="class-folders")
    kinds = {loss["kind"]: loss["count"] for loss in done.losses}
    assert kinds["images-of-no-one-class"] + done.images == 72


def test_the_command_line_prints_the_ledger(tmp_path: Path) -> None:
    source = classification(tmp_path)
    args = ["convert", str(source), "--to", "class-folders", "--output", str(tmp_path / "b"), "--images", "link"]
    answer = CliRunner().invoke(app, args)
    assert answer.exit_code == 0
    assert "nothing is lost in class-folders" in answer.stdout
