import json
from pathlib import Path

import numpy as np
import pytest

from snellen.evaluation.coco_core import Detections, Matching, Objects
from snellen.evaluation.lvis import Federation, lvis_summary, match_lvis
from snellen.evaluation.pairs import BoxOverlap
from tests.evaluation.coco_reference import Case, random_case

NONE = np.zeros((0, 2), dtype=np.int64)
FREQUENCY = np.array(["r", "c", "f"])


def case_of(seed: int, **options) -> Case:
    return random_case(np.random.default_rng(seed), num_classes=3, crowd=0, **options)


def matched(case: Case, federation: Federation, max_dets: int = 300) -> Matching:
    crowd = np.zeros(len(case.object_classes), dtype=bool)
    areas, own = (b[:, 2] * b[:, 3] for b in (case.object_boxes, case.boxes))
    return match_lvis(
        Objects(case.object_classes, case.object_images, areas, crowd, crowd),
        Detections(case.classes, case.images, case.scores, own),
        BoxOverlap(case.boxes, case.object_boxes, crowd),
        federation,
        num_classes=case.num_classes,
        num_images=case.num_images,
        max_dets=max_dets,
    )


def single(**pairs: list[tuple[int, int]]) -> dict[str, float | None]:
    """One object of class 0 in image 0, found with 0.5; before it, false finds of classes 0 and 1 with 0.9."""
    box = np.array([[0.0, 0, 50, 50]])
    far = np.array([[100.0, 100, 50, 50]])
    case = Case(
        box, np.array([0]), np.array([0]), np.array([False]), np.vstack([box, far, far]), np.array([0, 0, 1]),
        np.array([0, 0, 1]), np.array([0.5, 0.9, 0.9]), 3, 2,
    )  # fmt: skip
    tables = {name: np.array(pairs.get(name, NONE)).reshape(-1, 2) for name in ("negative", "not_exhaustive")}
    federation = Federation(FREQUENCY, **tables)
    return lvis_summary(matched(case, federation), federation) | {"N": len(matched(case, federation).rows)}


def test_detections_of_classes_nobody_looked_for_are_left_out() -> None:
    found = single()
    assert (found["mAP"], found["mAP_rare"], found["mAP_common"]) == (pytest.approx(0.5), pytest.approx(0.5), None)
    assert found["N"] == 2
    assert single(negative=[(1, 1)])["N"] == 3


def test_where_not_every_object_is_annotated_an_unmatched_detection_counts_as_nothing() -> None:
    assert single(not_exhaustive=[(0, 0)])["mAP"] == pytest.approx(1.0)


def test_thirteen_numbers_in_the_order_of_the_reference() -> None:
    assert [n for n in single() if n != "N"] == [
        "mAP", "mAP50", "mAP75", "mAP_small", "mAP_medium", "mAP_large", "mAP_rare", "mAP_common", "mAP_frequent",
        "mAR@300", "mAR_small", "mAR_medium", "mAR_large",
    ]  # fmt: skip


def test_the_limit_is_an_images_over_all_classes() -> None:
    case = case_of(0, num_images=2, objects=30, per_object=3, noise=60)
    federation = Federation(FREQUENCY, np.argwhere(np.ones((2, 3))), NONE)
    rows = matched(case, federation, max_dets=10).rows
    for image in range(2):
        best = np.sort(case.scores[case.images == image])[::-1][:10]
        assert sorted(case.scores[rows[case.images[rows] == image]], reverse=True) == best.tolist()


@pytest.mark.parametrize("seed", range(12))
def test_equal_to_lvis_api(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "float", float, raising=False)  # lvis 0.5.3 uses the alias that numpy dropped
    lvis = pytest.importorskip("lvis")
    rng = np.random.default_rng(seed)
    case = case_of(seed, num_images=6, objects=50, ties=seed % 2 == 0, per_object=3, noise=200)
    pairs = [np.argwhere(rng.random((6, 3)) < share) for share in (0.4, 0.3)]
    document = {
        "images": [
            {
                "id": i + 1, "height": 640, "width": 640, "coco_url": "",
                "neg_category_ids": [int(k) + 1 for j, k in pairs[0] if j == i],
                "not_exhaustive_category_ids": [int(k) + 1 for j, k in pairs[1] if j == i],
            }
            for i in range(6)
        ],
        "categories": [{"id": k + 1, "name": str(k), "frequency": f} for k, f in enumerate("rcf")],
        "annotations": [
            {"id": n + 1, "image_id": int(i) + 1, "category_id": int(k) + 1, "bbox": b, "area": b[2] * b[3]}
            for n, (i, k, b) in enumerate(
                zip(case.object_images, case.object_classes, case.object_boxes.tolist(), strict=True)
            )
        ],
    }  # fmt: skip
    (tmp_path / "truth.json").write_text(json.dumps(document))
    results = [
        {"image_id": int(i) + 1, "category_id": int(k) + 1, "bbox": b, "score": float(s)}
        for i, k, b, s in zip(case.images, case.classes, case.boxes.tolist(), case.scores, strict=True)
    ]
    truth = lvis.LVIS(str(tmp_path / "truth.json"))
    reference = lvis.LVISEval(truth, lvis.LVISResults(truth, results, max_dets=50), "bbox")
    reference.params.max_dets = 50
    reference.run()
    federation = Federation(FREQUENCY, pairs[0], pairs[1])
    mine = lvis_summary(matched(case, federation, max_dets=50), federation)
    assert [-1.0 if v is None else v for v in mine.values()] == list(reference.get_results().values())
