"""What the rules about copies and leaks make of names, clocks and hashes; above all, when they are silent."""

from typing import Any

import numpy as np
import pytest

from snellen.data.facts import BOXES, CLASSES, IMAGES, LEDGER, PAIRS, PROBLEMS, DataFacts
from snellen.facts import table
from snellen.rules.data.duplicate_image import DuplicateImage
from snellen.rules.data.near_duplicate_image_with_different_labels import NearDuplicateImageWithDifferentLabels
from snellen.rules.data.split_leak_by_augmentation import SplitLeakByAugmentation
from snellen.rules.data.split_leak_by_group import SplitLeakByGroup
from snellen.rules.data.split_leak_exact import SplitLeakExact
from snellen.rules.data.split_leak_near import SplitLeakNear
from snellen.rules.data.suspicious_unlabelled import SuspiciousUnlabelled

RNG = np.random.default_rng(0)


def fresh() -> int:
    return int(RNG.integers(1, 1 << 63))


def near(phash: int, bits: int = 4) -> int:
    for bit in RNG.choice(63, bits, replace=False):
        phash ^= 1 << int(bit)
    return phash


def facts(
    rows: list[dict[str, Any]], pairs: list[dict[str, Any]] | None = None, boxes: list[dict[str, Any]] | None = None
) -> DataFacts:
    for position, row in enumerate(rows):
        row.setdefault("phash", fresh())
        row |= {"width": 100, "height": 100, "hash": row.get("hash", str(position)), "bytes": 9, "decoded": True}
    known = {"kind": "near", "orientation": "as it is", "similarity": 0.99, "distance": 2}
    solid = {"file": "a.json", "row": 1, "usable": True}
    return DataFacts(
        root="/",
        format="coco",
        task="detection" if boxes is not None else "classification",
        images=table(IMAGES, rows),
        pairs=table(PAIRS, [known | pair for pair in pairs or []]),
        boxes=table(BOXES, [solid | box for box in boxes or []]),
        problems=table(PROBLEMS, []),
        classes=table(CLASSES, []),
        ledger=table(LEDGER, []),
        tier_gathered=2,
    )


def said(rule: Any, data: DataFacts) -> list[str]:
    return [finding.message for finding in rule.check(data)]


def split_rows(names: dict[str, list[str]], **columns: Any) -> list[dict[str, Any]]:
    return [{"image": f"{split}/{name}", "split": split, **columns} for split, some in names.items() for name in some]


def test_ordinary_numbers_shuffled_between_splits_say_nothing() -> None:
    splits = RNG.choice(["train", "val"], 1_000, p=[0.8, 0.2])
    rows = [{"image": f"{s}/BloodImage_{n:05}.jpg", "split": s} for n, s in enumerate(splits.tolist())]
    data = facts(rows)
    assert said(SplitLeakByGroup(), data) == []
    assert said(SplitLeakByAugmentation(), data) == []


def frames(per_scene: int, scenes: int) -> list[dict[str, Any]]:
    """Frames of one film whose scenes last some frames; every fourth frame is validated on."""
    rows = []
    for scene in range(scenes):
        look = fresh()
        for frame in range(per_scene):
            number = scene * per_scene + frame
            split = "val" if number % 4 == 0 else "train"
            rows.append({"image": f"{split}/frame_{number:04}.jpg", "split": split, "phash": near(look, 6)})
    return rows


def test_frames_of_one_film_in_two_splits() -> None:
    (message,) = said(SplitLeakByGroup(), facts(frames(20, 10)))
    # Of two neighbours as near, that of the scene before may be looked at.
    assert message.startswith("41 of 50")
    assert "train/frame_" in message


def test_frames_apart_by_scene_are_no_leak() -> None:
    rows = frames(20, 10)
    for position, row in enumerate(rows):
        row["split"] = "val" if position >= 160 else "train"
    assert said(SplitLeakByGroup(), facts(rows)) == []


def test_numbers_that_start_anew_in_each_split_say_nothing() -> None:
    names = [f"{n:06}.png" for n in range(100)]
    assert said(SplitLeakByGroup(), facts(split_rows({"train": names, "val": names}))) == []


@pytest.mark.parametrize("pattern", ["patient{}_slice_{:03}.png", "scene-{}_{:05}.jpg", "video{}.frame{}.jpg"])
def test_groups_by_name(pattern: str) -> None:
    train = [pattern.format(group, 10 * frame) for group in range(8) for frame in range(5)]
    val = [pattern.format(group, 10 * frame + 5_000) for group in range(6) for frame in range(2)]
    assert said(SplitLeakByGroup(), facts(split_rows({"train": train, "val": val})))[0].startswith(
        "12 of 12 val images"
    )
    elsewhere = [pattern.format(group, frame) for group in range(20, 26) for frame in range(2)]
    assert said(SplitLeakByGroup(), facts(split_rows({"train": train, "val": elsewhere}))) == []


def test_one_image_a_patient_is_no_group() -> None:
    names = {"train": [f"patient_{n}.png" for n in range(40)], "val": [f"patient_{n}.png" for n in range(30, 60)]}
    assert said(SplitLeakByGroup(), facts(split_rows(names))) == []


def test_bursts_of_one_camera() -> None:
    rows = []
    for burst in range(30):
        look = fresh()
        for shot in range(3):
            split = "val" if shot == 1 else "train"
            taken = f"2024:05:01 12:{burst:02}:0{shot}"
            name = f"{split}/{RNG.integers(1 << 40):x}q.jpg"
            rows.append({"image": name, "split": split, "taken": taken, "camera": "X 1", "phash": near(look, 6)})
    assert said(SplitLeakByGroup(), facts([dict(row) for row in rows]))[0].startswith(("29 of 30", "30 of 30"))
    for row in rows:  # as often within seconds, of different things
        row["phash"] = fresh()
    assert said(SplitLeakByGroup(), facts(rows)) == []


def test_roboflow_names() -> None:
    train: list[dict[str, Any]] = []
    val: list[dict[str, Any]] = []
    for number in range(40):
        look = fresh()
        for version, rows in enumerate((train, train, val)):
            split = "val" if rows is val else "train"
            name = f"{split}/img{number}_jpg.rf.{version}{number:031x}.jpg"
            rows.append({"image": name, "split": split, "phash": near(look, 7)})
    (message,) = said(SplitLeakByAugmentation(), facts(train + val))
    assert message.startswith(("38 of 40", "39 of 40", "40 of 40"))
    # Merged sets whose pictures merely bear the same numbers.
    for row in val:
        row["phash"] = fresh()
    assert said(SplitLeakByAugmentation(), facts(train + val)) == []


def test_names_of_augmentations() -> None:
    looks = [fresh() for _ in range(30)]
    train = [{"image": f"train/{n}.jpg", "split": "train", "phash": look} for n, look in enumerate(looks)]
    val = [
        {"image": f"val/{n}_aug{n % 3}.jpg", "split": "val", "phash": near(look, 6)}
        for n, look in enumerate(looks[:20])
    ]
    assert said(SplitLeakByAugmentation(), facts(train + val))[0].startswith("20 of 20 val images")


def test_same_names_in_two_folders_are_two_pictures() -> None:
    names = [f"{n}.jpg" for n in range(50)]
    assert said(SplitLeakByAugmentation(), facts(split_rows({"train": names, "val": names}))) == []


def test_equal_pixels_are_the_same_picture() -> None:
    rows = split_rows({"train": ["a.png", "b.png"], "val": ["c.png"]}, class_name="cat")
    pairs = [{"image": "train/a.png", "other": other, "kind": "pixels"} for other in ("train/b.png", "val/c.png")]
    data = facts(rows, pairs)
    assert len(said(DuplicateImage(), data)) == 1
    assert said(SplitLeakExact(), data)[0].startswith("1 of 1 val image is in train too")
    assert said(SplitLeakNear(), data) == []


def test_a_leak_is_seen_behind_an_identical_copy() -> None:
    """The facts pair b with the first of two identical files; the leak is with the second."""
    rows = split_rows({"val": ["a.png", "b.png"], "train": ["a2.png"]})
    rows[0]["hash"] = rows[2]["hash"] = "same"
    data = facts(rows, [{"image": "val/a.png", "other": "val/b.png"}])
    assert "(val/b.png is train/a2.png there)" in said(SplitLeakNear(), data)[0]


def boxes(image: str, *names: str, shift: float = 0) -> list[dict[str, Any]]:
    return [
        {
            "image": image,
            "class_name": name,
            "x1": 20.0 * i + shift,
            "y1": 10.0,
            "x2": 20.0 * i + 18 + shift,
            "y2": 60.0,
        }
        for i, name in enumerate(names)
    ]


def test_boxes_of_two_names_around_one_object() -> None:
    rows = split_rows({"train": ["a.png", "b.png"]})
    pair = [{"image": "train/a.png", "other": "train/b.png"}]
    rule = NearDuplicateImageWithDifferentLabels()
    mine = boxes("train/a.png", "cat", "dog")
    assert said(rule, facts([dict(r) for r in rows], pair, mine + boxes("train/b.png", "cat", "dog", shift=1))) == []
    # Things that move, come and go between two frames.
    assert said(rule, facts([dict(r) for r in rows], pair, mine + boxes("train/b.png", "cat", shift=9))) == []
    (message,) = said(rule, facts(rows, pair, mine + boxes("train/b.png", "cat", "cow", shift=1)))
    assert "labelled cow and dog" in message


def test_an_image_emptier_than_its_double() -> None:
    rows = split_rows({"train": ["a.png", "b.png"]})
    pair = [{"image": "train/a.png", "other": "train/b.png"}]
    full = boxes("train/a.png", *["cell"] * 4)
    rule = SuspiciousUnlabelled()
    assert said(rule, facts([dict(r) for r in rows], pair, full + boxes("train/b.png", *["cell"] * 3))) == []
    assert said(rule, facts([dict(r) for r in rows], pair, full))[0].startswith("no box, but 4 in train/a.png")
    assert said(rule, facts(rows, [], full)) == []


def test_no_pairs_no_splits() -> None:
    data = facts([{"image": f"{n}.png"} for n in range(9)])
    for rule in (
        SplitLeakNear(),
        SplitLeakByGroup(),
        SplitLeakByAugmentation(),
        NearDuplicateImageWithDifferentLabels(),
    ):
        assert said(rule, data) == []
