"""Hostile and damaged datasets through the whole exam: a finding or one clear line, a report, and nothing changed."""

import json
import os
import re
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from snellen.errors import UseError
from snellen.findings.settings import LoadedSettings
from snellen.result import Result
from snellen.verbs.check import check
from snellen.verbs.evaluate import evaluate
from snellen.verbs.exam import exam
from tests.verbs.hostile import class_folders, coco, examined, huge_png, picture, rules_of, voc, yolo

pytestmark = pytest.mark.timeout(120)
SCRIPT = "<script>alert(1)<"
"""As far as a file's name can go: no slash."""


@pytest.fixture
def run(tmp_path: Path, plain: LoadedSettings) -> Callable[..., Result | str]:
    def run_(data: Path, **more: object) -> Result | str:
        return examined(data, tmp_path / "out", plain, **more)

    return run_


Run = Callable[..., Result | str]


def edit(path: Path, change: Callable[[dict[str, list[dict[str, object]]]], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def ledger(result: Result | str) -> dict[str, str]:
    assert isinstance(result, Result), result
    assert result.folder
    table = pl.read_parquet(result.folder / "ledger.parquet")
    return dict(table.filter(~pl.col("used")).select("image", "reason").iter_rows())


def at(result: Result | str, rule: str) -> set[str | None]:
    """The images (else files) that findings of `rule` point at."""
    assert isinstance(result, Result), result
    return {f.place.image or f.place.file for f in result.verdict.findings if f.rule == rule}


def nothing(root: Path) -> None:
    root.mkdir()


def one_image(root: Path) -> None:
    picture(root / "cat" / "a.png", 1)


def one_scene(root: Path) -> None:
    coco(root, 3)
    (root / "val.json").unlink()
    edit(root / "train.json", lambda d: d.update(images=d["images"][:1]))


def no_categories(root: Path) -> None:
    coco(root, 4)
    for split in ("train", "val"):
        edit(root / f"{split}.json", lambda d: d.update(categories=[]))


def broken_json(root: Path) -> None:
    root.mkdir()
    (root / "train.json").write_text('{"images": [, "annotations"')


def only_damaged(root: Path) -> None:
    for name in ("a", "b"):
        for number in range(3):
            (root / name).mkdir(parents=True, exist_ok=True)
            (root / name / f"{number}.jpg").write_bytes(b"\xff\xd8 broken")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (nothing, "no dataset found there; looked for"),
        (one_image, "1 training and 0 validation images are usable, and both are needed"),
        (one_scene, "1 training and 0 validation images are usable, and both are needed"),
        (no_categories, r"nothing to train on: 6 usable images, 0 classes; `snellen check` says"),
        (broken_json, "train.json is not JSON"),
        (only_damaged, r"nothing to train on: 0 usable images \(6 left out: unreadable"),
    ],
)
def test_what_cannot_be_trained_on_ends_in_one_line(
    make: Callable[[Path], None], says: str, run: Run, tmp_path: Path
) -> None:
    make(tmp_path / "set")
    told = run(tmp_path / "set")
    assert isinstance(told, str), "the exam should have refused"
    assert str(tmp_path / "set") in told
    assert re.search(says, told), told
    assert not (tmp_path / "out").exists(), "a refused exam leaves no run folder"


def test_a_class_of_one_image_and_a_single_class_are_trained_on(run: Run, tmp_path: Path) -> None:
    class_folders(tmp_path / "set")
    picture(tmp_path / "set" / "lone" / "a.png", 777)
    result = run(tmp_path / "set")
    assert "rare-class" in rules_of(result)
    shutil.rmtree(tmp_path / "out")
    found = rules_of(run(class_folders(tmp_path / "one", names=("cat",))))
    assert {"single-class"} <= found <= {"single-class", "too-few-validation-images"}


def test_names_of_every_kind(run: Run, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set")
    odd = [SCRIPT + ".png", "\"onload='x'.png", "up...png", "new\nline.png", "naïve ü.png", "\u202egnp.png"]
    for number, name in enumerate(odd):
        picture(root / "cat" / name, 900 + number)
    for number, name in enumerate((SCRIPT, "new\nline\" ' ünï")):
        for index in range(4):
            picture(root / name / f"{index}.png", 950 + 10 * number + index)
    for number, raw in enumerate((b"caf\xe9.png", b"caf\xe8.png")):
        picture(root / "spare.png", 980 + number)
        os.rename(root / "spare.png", os.fsencode(root / "dog") + b"/" + raw)
    result = run(root)
    assert isinstance(result, Result)
    assert result.data
    used = set(result.data.images.filter(pl.col("decoded"))["image"])
    assert used >= {f"cat/{name}" for name in odd}
    assert at(result, "unreadable-image") == {"dog/caf\\udce9.png", "dog/caf\\udce8.png"}
    assert set(ledger(result)) == {"dog/caf\\udce9.png", "dog/caf\\udce8.png"}
    assert "not UTF-8: rename the file" in ledger(result)["dog/caf\\udce9.png"]
    assert SCRIPT in result.data.classes["class_name"].to_list()
    assert "\n" not in "".join(line for line in str(result).splitlines() if "new\\nline" in line)


def test_names_in_detection_formats(run: Run, tmp_path: Path) -> None:
    root = yolo(tmp_path / "yolo")
    (root / "data.yaml").write_text(
        'train: images/train\nval: images/val\nnames: ["<script>alert(1)</script>", "a\\nb\\"\'"]\n'
    )
    os.rename(root / "images/train/000.png", os.fsencode(root / "images/train") + b"/caf\xe9.png")
    os.rename(root / "labels/train/000.txt", os.fsencode(root / "labels/train") + b"/caf\xe9.txt")
    os.rename(root / "images/train/001.png", root / "images/train" / (SCRIPT + ".png"))
    os.rename(root / "labels/train/001.txt", root / "labels/train" / (SCRIPT + ".txt"))
    result = run(root)
    assert at(result, "unreadable-image") == {"images/train/caf\\udce9.png"}
    shutil.rmtree(tmp_path / "out")
    root = voc(tmp_path / "voc")
    os.rename(root / "JPEGImages/000.png", os.fsencode(root / "JPEGImages") + b"/caf\xe9.png")
    os.rename(root / "Annotations/000.xml", os.fsencode(root / "Annotations") + b"/caf\xe9.xml")
    assert at(run(root), "unreadable-image") == {"JPEGImages/caf\\udce9.png"}


def test_a_damaged_coco_set_is_examined_and_the_rest_trained_on(run: Run, tmp_path: Path) -> None:
    root = coco(tmp_path / "set", 20)

    def spoil(document: dict[str, list[dict[str, object]]]) -> None:
        boxes, images = document["annotations"], document["images"]
        boxes[0]["bbox"] = [float("nan"), 1, 2, 3]
        boxes[1]["bbox"] = [1, 2, float("inf"), 3]
        boxes[2]["bbox"] = [1e308] * 4
        boxes[3]["category_id"] = 10**30
        boxes[4]["bbox"] = "1 2 3 4"
        images[3]["width"] = 10**30
        images.append({"id": "\ud800", "file_name": "../../etc/passwd"})
        images.append({"id": "\ud800x", "file_name": "a\ud800.png"})
        document["categories"].append({"id": 3, "name": "a\nb\ud800<script>alert(1)</script>"})

    edit(root / "train.json", spoil)
    again = json.loads((root / "train.json").read_text())["images"][5]

    def list_again(document: dict[str, list[dict[str, object]]]) -> None:
        document["images"].append({**again, "id": 777})
        document["annotations"].append({**document["annotations"][0], "image_id": 777})

    edit(root / "val.json", list_again)
    train = root / "images" / "train"
    huge_png(train / "004.png")
    (train / "005.png").write_bytes(b"")
    (train / "006.png").write_bytes((train / "006.png").read_bytes()[:900])
    (train / "007.png").unlink()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)).save(train / "008.png", "JPEG")
    (train / "008.png").write_bytes((train / "008.png").read_bytes()[:2000])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = run(root)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 1.5e9, "a 30,000 x 30,000 image would need 2.7 GB"
    assert rules_of(result) >= {
        "non-finite-coordinate", "malformed-label", "unreadable-image", "truncated-image", "missing-image",
        "unsafe-path", "split-leak-exact", "image-size-mismatch",
    }  # fmt: skip
    assert set(ledger(result)) >= {f"images/train/{n:03}.png" for n in range(4, 9)}
    assert isinstance(result, Result)
    assert result.scores
    assert result.run
    assert result.run.steps.height > 0


@pytest.mark.parametrize("broken", ["train", "val"])
def test_one_corrupt_json_of_two_is_a_finding(broken: str, run: Run, tmp_path: Path) -> None:
    root = coco(tmp_path / "set", 16)
    (root / f"{broken}.json").write_text('{"images": [, "annotations"')
    assert at(run(root), "corrupt-annotation-file") == {f"{broken}.json"}


def test_labels_that_are_all_unusable_are_findings(run: Run, tmp_path: Path) -> None:
    root = coco(tmp_path / "nan", 12)
    for split in ("train", "val"):
        edit(root / f"{split}.json", lambda d: [a.update(bbox=[float("nan")] * 4) for a in d["annotations"]])
    assert "non-finite-coordinate" in rules_of(run(root))
    shutil.rmtree(tmp_path / "out")
    root = yolo(tmp_path / "empty", 12)
    for path in root.glob("labels/*/*.txt"):
        path.write_bytes(b"")
    assert "unused-class" in rules_of(run(root))


def test_links_lead_nowhere(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "secret" / "s.png", 3)
    root = class_folders(tmp_path / "set")
    cat = root / "cat"
    (cat / "out.png").symlink_to(tmp_path / "secret" / "s.png")
    (cat / "loop.png").symlink_to("loop.png")
    (cat / "gone.png").symlink_to("nowhere.png")
    (cat / "within.png").symlink_to("../cat/000.png")
    (cat / "up").symlink_to("..")
    (root / "round").symlink_to(".")
    (root / "outside").symlink_to(tmp_path / "secret")
    os.mkfifo(cat / "pipe.png")
    result = run(root)
    assert at(result, "unreadable-image") == {"cat/out.png", "cat/loop.png", "cat/pipe.png"}
    assert at(result, "missing-image") == {"cat/gone.png"}
    assert at(result, "unsafe-path") == {"round", "outside"}
    assert isinstance(result, Result)
    assert result.data
    assert result.data.classes["class_name"].to_list() == ["cat", "dog"]
    assert "cat/within.png" not in ledger(result)


def test_a_link_among_labels_gives_nothing_away(run: Run, tmp_path: Path) -> None:
    root = yolo(tmp_path / "set")
    (tmp_path / "key").write_text("PRIVATE KEY abc def\n")
    train = root / "labels" / "train"
    (train / "003.txt").unlink()
    (train / "003.txt").symlink_to(tmp_path / "key")
    (train / "loop.txt").symlink_to("loop.txt")
    os.mkfifo(train / "pipe.txt")
    os.mkfifo(root / "images" / "train" / "pipe.png")
    (train / "004.txt").unlink()
    (train / "004.txt").mkdir()
    result = run(root)
    assert at(result, "corrupt-annotation-file") == {"images/train/003.png"}
    assert isinstance(result, Result)
    assert result.folder
    for path in result.folder.rglob("*"):
        if path.is_file():
            assert b"PRIVATE KEY" not in path.read_bytes(), path


@pytest.mark.parametrize("make", [class_folders, coco])
def test_a_file_that_goes_after_it_was_examined(
    make: Callable[[Path], Path], plain: LoadedSettings, tmp_path: Path
) -> None:
    """One file vanishes before training, one is spoilt, one vanishes before the scoring."""
    root = make(tmp_path / "set")
    images = sorted(p for p in root.rglob("*.png") if "val" not in p.parts)
    late = sorted(root.rglob("val/*.png"))[:1]

    def fate(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "measure images" and done == total and images[3].exists():
            images[3].unlink()
            images[4].write_bytes(images[4].read_bytes()[:700])
        if stage == "train" and done == total:
            for path in late:
                path.unlink(missing_ok=True)

    out = tmp_path / "out"
    result = exam(root, out=out, settings=plain, cache=False, progress=fate, epochs=1, image_size=32, batch_size=8)
    lost = {path.relative_to(root).as_posix() for path in (images[3], *late)}
    spoilt = images[4].relative_to(root).as_posix()
    assert at(result, "missing-image") == lost
    assert spoilt in at(result, "truncated-image") | at(result, "unreadable-image")
    assert {images[3].relative_to(root).as_posix(), spoilt} == set(ledger(result))
    assert result.data
    assert lost | {spoilt} == set(result.data.ledger.filter(record="image")["image"])
    assert (out / "report.html").is_file()
    # Scored later, the run is scored on what it was validated with: nothing it has learned from mixes in.
    again = evaluate(out, root, settings=plain)
    assert again.scores
    assert result.scores
    assert again.scores.scores.equals(result.scores.scores)


def test_a_file_that_may_not_be_read(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_folders(tmp_path / "set")
    open_file = Path.open

    def guarded(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == "003.png" and path.parent.name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return open_file(path, *args, **options)

    monkeypatch.setattr(Path, "open", guarded)
    result = run(root)
    assert at(result, "unreadable-image") == {"dog/003.png"}
    assert "Permission denied" in ledger(result)["dog/003.png"]


def test_a_folder_that_may_not_be_written_to(run: Run, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set")
    folders = [root, *(p for p in root.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert rules_of(run(root)) <= {"too-few-validation-images"}
    finally:
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.parametrize("make", [class_folders, yolo, voc, coco])
def test_a_folder_that_may_not_be_listed(
    make: Callable[[Path], Path], plain: LoadedSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make(tmp_path / "set")
    closed = str(next(p for p in sorted(root.rglob("*")) if p.is_dir() and any(p.glob("*.*"))))
    calls = {"scandir": os.scandir, "stat": os.stat}

    def guarded(call: str) -> Callable[..., object]:
        def guard(path: object = ".", *more: object, **named: object) -> object:
            inside = str(path) == closed if call == "scandir" else str(path).startswith(closed + "/")
            if inside:
                raise PermissionError(13, "Permission denied", str(path))
            return calls[call](path, *more, **named)  # type: ignore[operator]

        return guard

    for call in calls:
        monkeypatch.setattr(os, call, guarded(call))
    told, found = "", set[str]()
    try:
        found = rules_of(check(root, settings=plain, cache=False))
    except UseError as error:
        told = str(error)
    pattern = f"{re.escape(closed)}.*: cannot be read .Permission denied.; check its permissions"
    assert re.fullmatch(pattern, told) or {"unreadable-image", "corrupt-annotation-file"} & found, (told, found)
