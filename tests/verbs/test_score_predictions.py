"""Anybody's predictions scored against datasets of every task, as a user hands them over: files and folders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from snellen.errors import UseError
from snellen.findings.settings import LoadedSettings
from snellen.result import Result
from snellen.verbs.evaluate import evaluate

NAMES = ("cat", "dog", "bird")
SIDE = 64


def score(subject: Path, data: Path, plain: LoadedSettings, **options: Any) -> Result:
    result = evaluate(subject, data, settings=plain, **options)
    assert result.scores
    str(result)
    return result


def kinds(result: Result) -> dict[str, int]:
    assert result.scores
    return dict(result.scores.problems.group_by("kind").len().iter_rows())


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


# --- objects ----------------------------------------------------------------------------------------------------


def quad(x: float, y: float, w: float, h: float, lean: float = 0.0) -> list[float]:
    return [x + lean, y, x + w + lean, y, x + w, y + h, x, y + h]


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images with boxes, outlines and seventeen keypoints, and detections that are a little off."""
    root = tmp_path_factory.mktemp("coco")
    rng = np.random.default_rng(0)
    document: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
    document["categories"] = [{"id": k + 1, "name": name} for k, name in enumerate(NAMES)]
    found: list[dict[str, Any]] = []
    for i in range(1, 13):
        picture(root / f"{i:03d}.png", i)
        document["images"].append({"id": i, "file_name": f"{i:03d}.png", "width": SIDE, "height": SIDE})
        for _ in range(4):
            x, y, w, h = (*rng.uniform(2, 30, 2), *rng.uniform(8, 30, 2))
            ring = quad(x, y, w, h)
            points = [v for px, py in rng.uniform([x, y], [x + w, y + h], (17, 2)) for v in (px, py, 2)]
            kind = int(rng.integers(1, 4))
            number = len(document["annotations"]) + 1
            # Half the box: sizes go by what is stated.
            document["annotations"].append(
                {"id": number, "image_id": i, "category_id": kind, "bbox": [x, y, w, h], "area": w * h / 2,
                 "iscrowd": 0, "segmentation": [ring], "keypoints": points, "num_keypoints": 17}
            )  # fmt: skip
            off = rng.normal(0, 2, 8)
            told = kind if rng.random() < 0.8 else int(rng.integers(1, 4))
            moved = [p + rng.normal(0, 1.5) if j % 3 < 2 else 1 for j, p in enumerate(points)]
            found.append(
                {"image_id": i, "category_id": told, "score": float(rng.random()),
                 "bbox": [x + off[0], y + off[1], w, h], "keypoints": moved,
                 "segmentation": [[v + o for v, o in zip(ring, off, strict=True)]]}
            )  # fmt: skip
    (root / "instances.json").write_text(json.dumps(document))
    (root.parent / f"{root.name}_results.json").write_text(json.dumps(found))
    return root


def results_of(coco: Path) -> Path:
    return coco.parent / f"{coco.name}_results.json"


def runs_of(rings: list[list[float]]) -> dict[str, Any]:
    """The polygon as run lengths, which is what pycocotools reads from results."""
    merged = coco_mask.merge(coco_mask.frPyObjects(rings, SIDE, SIDE))
    return merged | {"counts": merged["counts"].decode()}


def reference(truth: Path, results: list[dict[str, Any]], iou_type: str) -> list[float]:
    dataset = COCO(str(truth))
    evaluation = COCOeval(dataset, dataset.loadRes(results), iou_type)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return list(evaluation.stats)


@pytest.mark.parametrize(
    ("kind", "iou_type", "keys"),
    [("box", "bbox", ("bbox",)), ("mask", "segm", ("segmentation",)), ("keypoints", "keypoints", ("keypoints",))],
)
def test_a_file_scores_as_pycocotools_scores_it(
    kind: str, iou_type: str, keys: tuple[str, ...], coco: Path, plain: LoadedSettings, tmp_path: Path
) -> None:
    every = ("image_id", "category_id", "score", *keys)
    own = [{key: record[key] for key in every} for record in json.loads(results_of(coco).read_text())]
    if kind == "mask":
        for record in own:
            record["segmentation"] = runs_of(record["segmentation"])
    path = tmp_path / "own.json"
    path.write_text(json.dumps(own))
    result = score(path, coco, plain)
    assert kinds(result) == {}
    assert result.scores
    theirs = reference(coco / "instances.json", own, iou_type)
    names = ("mAP", "mAP50", "mAP75", "mAP_small", "mAP_medium", "mAP_large")
    expected = dict(zip(names, theirs, strict=False)) if kind != "keypoints" else {
        "mAP": theirs[0], "mAP50": theirs[1], "mAP75": theirs[2], "mAP_medium": theirs[3], "mAP_large": theirs[4]
    }  # fmt: skip
    for name, value in expected.items():
        ours = result.scores.score(name)
        # pycocotools takes a mask's size from the box beside it; where there is none, from the mask, as is done here.
        assert (-1 if ours is None else ours) == pytest.approx(value, abs=1e-6), name
    noun = {"box": "boxes", "mask": "instance masks", "keypoints": "keypoints"}[kind]
    assert result.scores.convention.startswith(f"scored as {noun}")


def test_the_finest_shape_is_taken_and_another_can_be_asked_for(coco: Path, plain: LoadedSettings) -> None:
    path = results_of(coco)
    values = {}
    for kind in (None, "keypoints", "mask", "box"):
        result = score(path, coco, plain, kind=kind)
        assert result.scores
        values[kind] = result.scores.score("mAP")
    assert values[None] == values["keypoints"]
    assert len(set(values.values())) == 3
    with pytest.raises(UseError, match="the dataset has no rotated boxes"):
        score(path, coco, plain, kind="oriented")


def test_limits_and_conventions(coco: Path, plain: LoadedSettings) -> None:
    few = score(results_of(coco), coco, plain, kind="box", max_dets=(1, 3)).scores
    assert few
    assert {"mAR@1", "mAR@3"} <= set(few.scores["metric"])
    voc = score(results_of(coco), coco, plain, kind="box", convention="voc2007")
    assert voc.scores
    assert voc.scores.scores["metric"][0] == "mAP_voc2007"
    assert voc.scores.score("mAP_voc2007") is not None
    assert "mAP_voc2007" in str(voc)
    with pytest.raises(UseError, match="no frequency"):
        score(results_of(coco), coco, plain, convention="lvis")


def test_lvis_leaves_out_what_was_not_looked_for(coco: Path, plain: LoadedSettings, tmp_path: Path) -> None:
    """Of the third class only two images were searched: elsewhere its detections count as nothing."""
    document = json.loads((coco / "instances.json").read_text())
    root = tmp_path / "lvis"
    for image in document["images"]:
        picture(root / image["file_name"], image["id"])
        searched = image["id"] <= 2
        image["neg_category_ids"] = [1, 2, *([3] if searched else [])]
        image["not_exhaustive_category_ids"] = [1] if image["id"] == 3 else []
    document["annotations"] = [a for a in document["annotations"] if a["category_id"] != 3 or a["image_id"] <= 2]
    for number, category in enumerate(document["categories"]):
        category["frequency"] = "rcf"[number]
    (root / "lvis.json").write_text(json.dumps(document))
    found = json.loads(results_of(coco).read_text())
    path = tmp_path / "found.json"
    path.write_text(json.dumps([{k: r[k] for k in ("image_id", "category_id", "score", "bbox")} for r in found]))
    lvis = score(path, root, plain, convention="lvis").scores
    as_coco = score(path, root, plain).scores
    assert lvis
    assert as_coco
    assert {"mAP_rare", "mAP_common", "mAP_frequent", "mAR@300"} <= set(lvis.scores["metric"])
    assert lvis.score("mAP_frequent") > as_coco.per_class.filter(class_name="bird")["ap"][0]  # type: ignore[operator]
    assert "LVIS" in lvis.convention


def test_rotated_boxes_of_a_yolo_folder(plain: LoadedSettings, tmp_path: Path) -> None:
    root, told = tmp_path / "set", tmp_path / "told"
    told.mkdir()
    (root / "labels").mkdir(parents=True)
    rng = np.random.default_rng(1)
    for i in range(6):
        picture(root / "images" / f"{i}.png", i)
        rings = [quad(*rng.uniform(5, 20, 2), *rng.uniform(15, 25, 2), lean=6) for _ in range(2)]
        rows = ["0 " + " ".join(f"{v / SIDE:.6f}" for v in ring) for ring in rings]
        (root / "labels" / f"{i}.txt").write_text("\n".join(rows) + "\n")
        (told / f"{i}.txt").write_text("\n".join(f"{row} 0.9" for row in rows) + "\n")
    (root / "data.yaml").write_text("train: images\nval: images\nnames: [ship]\n")
    result = score(told, root / "data.yaml", plain)
    assert result.scores
    assert result.scores.convention.startswith("scored as rotated boxes")
    assert result.scores.score("mAP") == pytest.approx(1.0)


def test_masks_drawn_in_pictures_are_scored_as_masks(plain: LoadedSettings, tmp_path: Path) -> None:
    """One mask an object (DSB 2018): the truth are bitmaps, the predictions run lengths."""
    root, found = tmp_path / "set", []
    for i in range(4):
        picture(root / f"im{i}" / "images" / f"im{i}.png", i)
        for k in range(2):
            drawn = np.zeros((SIDE, SIDE), np.uint8)
            drawn[10 * i + 2 : 10 * i + 20, 30 * k + 2 : 30 * k + 25] = 255
            (root / f"im{i}" / "masks").mkdir(exist_ok=True)
            Image.fromarray(drawn).save(root / f"im{i}" / "masks" / f"{k}.png")
            runs = coco_mask.encode(np.asfortranarray(drawn > 0))
            runs["counts"] = runs["counts"].decode()
            found.append({"image_id": f"im{i}", "category_id": "object", "score": 0.9, "segmentation": runs})
    path = tmp_path / "found.json"
    path.write_text(json.dumps(found))
    result = score(path, root, plain)
    assert result.scores
    assert result.scores.convention.startswith("scored as instance masks")
    assert result.scores.score("mAP") == 1.0
    assert kinds(result) == {}


# --- semantic ---------------------------------------------------------------------------------------------------


def semantic(root: Path, *, colours: bool = False, count: int = 6) -> list[np.ndarray]:
    """Images and masks of three classes, as ids or in colours; returns the ids."""
    ids = []
    shades = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)
    for i in range(count):
        picture(root / "images" / f"{i}.png", i)
        drawn = np.random.default_rng(i).integers(0, 3, (4, 4), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
        ids.append(drawn)
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(shades[drawn] if colours else drawn).save(root / "masks" / f"{i}.png")
    if colours:
        rows = [f"{name},{r},{g},{b}" for name, (r, g, b) in zip(NAMES, shades.tolist(), strict=True)]
        (root / "class_dict.csv").write_text("\n".join(["name,r,g,b", *rows]) + "\n")
    else:
        (root / "classes.txt").write_text("\n".join(NAMES) + "\n")
    return ids


@pytest.mark.parametrize(("colours", "as_colours"), [(False, False), (True, False), (True, True)])
def test_a_folder_of_masks(colours: bool, as_colours: bool, plain: LoadedSettings, tmp_path: Path) -> None:
    ids = semantic(tmp_path / "set", colours=colours)
    told = tmp_path / "told"
    told.mkdir()
    shades = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)
    confusion = np.zeros((3, 3))
    for i, drawn in enumerate(ids):
        guess = np.roll(drawn, 4, axis=1)
        np.add.at(confusion, (drawn.ravel(), guess.ravel()), 1)
        Image.fromarray(shades[guess] if as_colours else guess).save(told / f"{i}.png")
    result = score(told, tmp_path / "set", plain)
    hits = np.diagonal(confusion)
    iou = hits / (confusion.sum(0) + confusion.sum(1) - hits)
    assert result.scores
    assert result.scores.score("miou") == pytest.approx(iou.mean())
    assert result.scores.images == 6
    assert ("colours" if as_colours else "class ids") in result.scores.convention
    assert kinds(result) == {}


def test_bad_masks_are_rows_of_problems(plain: LoadedSettings, tmp_path: Path) -> None:
    ids = semantic(tmp_path / "set", count=8)
    told = tmp_path / "told"
    told.mkdir()
    for i, drawn in enumerate(ids):
        Image.fromarray(drawn).save(told / f"{i}.png")
    strange = ids[1].copy()
    strange[:4] = 77
    Image.fromarray(strange).save(told / "1.png")
    (told / "2.png").unlink()
    (told / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    Image.fromarray(ids[4][:32]).save(told / "4.png")
    Image.fromarray(ids[0]).save(told / "nobody.png")
    (told / "5.png").unlink()
    (told / "5.png").symlink_to(tmp_path / "set" / "masks" / "5.png")
    result = score(told, tmp_path / "set", plain)
    assert kinds(result) == {
        "unknown-class": 1, "missing-prediction": 1, "unreadable-mask": 2, "shape-mismatch": 1, "unknown-image": 1
    }  # fmt: skip
    assert result.scores
    assert result.scores.problems.filter(kind="unknown-class")["value"][0] == f"{4 * SIDE} pixels of value 77"
    assert result.scores.score("pixel_accuracy") == pytest.approx(1 - 4 / SIDE / 4)
    rules = {f.rule for f in result.verdict.findings}
    assert {"image-without-prediction", "prediction-of-other-size", "predictions-of-unknown-class"} <= rules


def test_a_folder_without_masks_and_a_file_are_refused_in_one_line(plain: LoadedSettings, tmp_path: Path) -> None:
    semantic(tmp_path / "set")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UseError, match="holds no"):
        score(tmp_path / "empty", tmp_path / "set", plain)
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(UseError, match="folder of PNG masks"):
        score(tmp_path / "a.json", tmp_path / "set", plain)
    with pytest.raises(UseError, match="--kind: is for detections"):
        score(tmp_path / "empty", tmp_path / "set", plain, kind="box")


# --- panoptic ---------------------------------------------------------------------------------------------------


def panoptic(root: Path, stem: str, shift: int = 0, images: bool = True) -> Path:
    """Four tiles an image, each a segment; `shift` moves them to the right."""
    document: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
    document["categories"] = [{"id": k + 1, "name": n, "isthing": int(k < 2)} for k, n in enumerate(NAMES)]
    for i in range(1, 6):
        if images:
            picture(root / f"{i}.png", i)
        document["images"].append({"id": i, "file_name": f"{i}.png", "width": SIDE, "height": SIDE})
        drawn = np.roll(np.arange(1, 5).reshape(2, 2).repeat(32, 0).repeat(32, 1) * 300, shift, axis=1)
        (root / stem).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack([drawn & 255, drawn >> 8, drawn * 0], -1).astype(np.uint8)).save(
            root / stem / f"{i}.png"
        )
        segments = [{"id": 300 * k, "category_id": 1 + (i + k) % 3, "area": 1024, "iscrowd": 0} for k in range(1, 5)]
        for k, segment in enumerate(segments):
            segment["bbox"] = [32 * (k % 2), 32 * (k // 2), 32, 32]
        document["annotations"].append({"image_id": i, "file_name": f"{i}.png", "segments_info": segments})
    path = root / f"{stem}.json"
    path.write_text(json.dumps(document))
    return path


def test_panoptic_files(plain: LoadedSettings, tmp_path: Path) -> None:
    panoptic(tmp_path / "set", "panoptic_val")
    told = panoptic(tmp_path / "told", "mine", shift=4, images=False)
    result = score(told, tmp_path / "set", plain)
    assert result.scores
    # A tile of 32 columns shifted by 4 on a torus: 28 shared, 36 in the union.
    assert result.scores.score("pq") == pytest.approx(28 / 36)
    assert kinds(result) == {}
    assert score(told.parent, tmp_path / "set", plain).scores.score("pq") == result.scores.score("pq")  # type: ignore[union-attr]


def test_bad_panoptic_files_are_rows_of_problems(plain: LoadedSettings, tmp_path: Path) -> None:
    panoptic(tmp_path / "set", "panoptic_val")
    told = panoptic(tmp_path / "told", "mine", images=False)
    document = json.loads(told.read_text())
    entries = document["annotations"]
    entries[0]["file_name"] = "../../set/panoptic_val/1.png"
    (told.parent / "mine" / "2.png").unlink()
    entries[2]["segments_info"][0]["category_id"] = 99
    entries[2]["segments_info"].append({"id": "x"})
    entries += [entries[3], {"image_id": 77, "file_name": "77.png", "segments_info": []}, 5, {"image_id": 4}]
    told.write_text(json.dumps(document))
    result = score(told, tmp_path / "set", plain)
    found = kinds(result)
    assert found == {
        "unreadable-mask": 1, "missing-prediction": 1, "unknown-class": 1, "missing-field": 2, "repeated-image": 1,
        "unknown-image": 1, "not-an-object": 1,
    }  # fmt: skip
    for content in ("[]", "{", '{"annotations": 3}', "[" * 50_000):
        told.write_text(content)
        with pytest.raises(UseError) as error:
            score(told, tmp_path / "set", plain)
        assert "\n" not in str(error.value)


# --- labels -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("labelled")
    for k, name in enumerate(NAMES):
        for i in range(20):
            picture(root / name / f"{name}{i}.png", 100 * k + i)
    return root


def table_of(rows: list[list[object]], header: list[str], path: Path) -> Path:
    path.write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]) + "\n")
    return path


def guesses(seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray]:
    """File names, labels and logits of the 60 images."""
    rng = np.random.default_rng(seed)
    files = [f"{name}{i}.png" for name in NAMES for i in range(20)]
    y = np.repeat(np.arange(3), 20)
    return files, y, 2.0 * np.eye(3)[y] + rng.normal(0, 1.2, (60, 3))


def test_probabilities_and_logits_of_a_csv_are_the_same(labelled: Path, plain: LoadedSettings, tmp_path: Path) -> None:
    from sklearn.metrics import log_loss, roc_auc_score

    files, y, z = guesses()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    header = ["image", "dog", "bird", "cat"]
    order = [1, 2, 0]
    table = [[f, *row[order]] for f, row in zip(files, p, strict=True)]
    first = score(table_of(table, header, tmp_path / "p.csv"), labelled, plain)
    table = [[f, *row[order]] for f, row in zip(files, z, strict=True)]
    second = score(table_of(table, header, tmp_path / "z.csv"), labelled, plain)
    assert first.scores
    assert second.scores
    assert first.scores.score("accuracy") == pytest.approx((p.argmax(1) == y).mean())
    assert first.scores.score("log_loss") == pytest.approx(log_loss(y, p))
    assert first.scores.score("roc_auc") == pytest.approx(roc_auc_score(y, p, multi_class="ovr"))
    assert second.scores.score("log_loss") == pytest.approx(log_loss(y, p))
    assert first.scores.convention.startswith("probabilities: the rows sum to 1")
    assert second.scores.convention.startswith("logits")
    assert kinds(first) == kinds(second) == {}


def test_labels_alone_have_no_calibration(labelled: Path, plain: LoadedSettings, tmp_path: Path) -> None:
    files, y, z = guesses()
    guess = z.argmax(1)
    path = table_of([[f, NAMES[g]] for f, g in zip(files, guess, strict=True)], ["image", "label"], tmp_path / "l.csv")
    result = score(path, labelled, plain)
    assert result.scores
    assert result.scores.score("accuracy") == pytest.approx((guess == y).mean())
    for metric in ("ece", "log_loss", "roc_auc", "brier", "top3_accuracy"):
        assert result.scores.score(metric) is None
    assert not {f.rule for f in result.verdict.findings} & {"overconfident-scores", "likely-label-errors"}


def test_bad_rows_of_a_csv_are_rows_of_problems(labelled: Path, plain: LoadedSettings, tmp_path: Path) -> None:
    files, _, z = guesses()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    rows: list[list[object]] = [[f, *row] for f, row in zip(files, p, strict=True)]
    rows[0][1] = "nan"
    rows[1][1] = "much"
    rows[2][1] = ""
    rows[3] = rows[3][:2]
    rows[4][1] = 0.9 + float(rows[4][1])  # type: ignore[arg-type]
    rows[5][0] = "nowhere.png"
    rows.append(rows[6])
    result = score(table_of(rows, ["image", *NAMES], tmp_path / "p.csv"), labelled, plain)
    found = kinds(result)
    out = found.pop("score-out-of-range", 0) + found.pop("not-a-distribution", 0)
    assert out == 1
    assert found == {
        "nan-score": 1, "not-a-number": 1, "missing-field": 2, "unknown-image": 1, "repeated-image": 1,
        "missing-prediction": 1,
    }  # fmt: skip
    assert result.scores
    assert result.scores.problems.filter(kind="repeated-image")["row"][0] == 61
    assert result.scores.problems.filter(kind="nan-score")["row"][0] == 1
    labels = [[f, "cow" if i == 7 else "cat"] for i, f in enumerate(files)]
    result = score(table_of(labels, ["filename", "class"], tmp_path / "l.csv"), labelled, plain)
    assert result.scores
    assert result.scores.problems.rows() == [("unknown-class", 8, "cat/cat7.png", "cow")]


def test_no_table_of_labels_is_refused_in_one_line(labelled: Path, plain: LoadedSettings, tmp_path: Path) -> None:
    for name, content in {"a.csv": "x,y\n1,2\n", "b.csv": "", "c.json": "[]", "d.csv": "image,score\na,1\n"}.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(UseError) as error:
            score(tmp_path / name, labelled, plain)
        assert "\n" not in str(error.value)
        assert str(tmp_path / name) in str(error.value)
    with pytest.raises(UseError, match="no such file"):
        score(tmp_path / "absent.csv", labelled, plain)


@given(content=st.binary(max_size=200) | st.text(alphabet="image,cat0.1\n\"'-naninf;", max_size=200))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_finding_or_one_line(
    content: bytes | str, labelled: Path, plain: LoadedSettings, tmp_path: Path
) -> None:
    path = tmp_path / "any.csv"
    raw = content if isinstance(content, bytes) else f"image,cat,dog\n{content}".encode()
    path.write_bytes(raw)
    try:
        told = str(score(path, labelled, plain).scores)
    except UseError as error:
        told = str(error)
        assert "\n" not in told
    assert told


def test_several_labels_an_image_are_the_classes_of_its_objects(
    coco: Path, plain: LoadedSettings, tmp_path: Path
) -> None:
    from sklearn.metrics import average_precision_score

    document = json.loads((coco / "instances.json").read_text())
    truth = np.zeros((12, 3))
    for annotation in document["annotations"]:
        truth[annotation["image_id"] - 1, annotation["category_id"] - 1] = 1
    s = np.clip(0.4 * truth + 0.6 * np.random.default_rng(0).random(truth.shape), 0, 1)
    rows = [[f"{i + 1:03d}.png", *row] for i, row in enumerate(s)]
    result = score(table_of(rows, ["image", *NAMES], tmp_path / "s.csv"), coco, plain)
    assert result.scores
    assert result.scores.task == "multi-label"
    expected = np.mean([average_precision_score(truth[:, k], s[:, k]) for k in range(3)])
    assert result.scores.score("mean_ap") == pytest.approx(expected)
    logits = [[f"{i + 1:03d}.png", *row] for i, row in enumerate(np.log(s / (1 - s + 1e-9) + 1e-9))]
    again = score(table_of(logits, ["image", *NAMES], tmp_path / "z.csv"), coco, plain)
    assert again.scores
    assert again.scores.score("mean_ap") == pytest.approx(expected)
    assert "sigmoid" in again.scores.convention


def test_a_problem_table_that_nobody_reads_would_be_silence(coco: Path, plain: LoadedSettings, tmp_path: Path) -> None:
    """Every record that is left out of a file of detections is named by a finding."""
    found = json.loads(results_of(coco).read_text())
    found[0].pop("score")
    found[1]["segmentation"] = [[1, 2]]
    found[2] = 7
    path = tmp_path / "found.json"
    path.write_text(json.dumps(found))
    result = score(path, coco, plain, kind="mask")
    assert kinds(result) == {"missing-field": 1, "malformed-polygon": 1, "not-an-object": 1}
    assert {"unreadable-prediction", "unreadable-predicted-shape"} <= {f.rule for f in result.verdict.findings}
    assert isinstance(result.scores.problems, pl.DataFrame)  # type: ignore[union-attr]
