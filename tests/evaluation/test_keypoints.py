import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from snellen.evaluation.keypoints import COCO_PERSON_SIGMAS, keypoint_summary, match_keypoints


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_ten_numbers_equal_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, objects, count = 4, int(rng.integers(1, 20)), int(rng.integers(1, 90))
    scale = np.exp(rng.uniform(3, 5.5, objects))
    points = rng.uniform(0, 1, (objects, 17, 3)) * scale[:, None, None] + rng.uniform(0, 300, (objects, 1, 1))
    points[..., 2] = rng.choice([0, 1, 2], (objects, 17), p=[0.3, 0.2, 0.5])
    points[rng.random(objects) < 0.15, :, 2] = 0
    low, high = points[..., :2].min(axis=1), points[..., :2].max(axis=1)
    boxes = np.hstack([low, high - low])
    areas = boxes[:, 2] * boxes[:, 3] * 0.6
    owner, crowd = rng.integers(0, images, objects), rng.random(objects) < 0.1
    source = rng.integers(0, objects, count)
    noise = rng.choice([0.0, 0.02, 0.1, 0.4], count)[:, None, None] * scale[source][:, None, None]
    found = points[source, :, :2] + rng.normal(0, 1, (count, 17, 2)) * noise
    scores = np.round(rng.random(count), 1)
    document = {
        "images": [{"id": i + 1} for i in range(images)],
        "categories": [{"id": 1}],
        "annotations": [
            {
                "id": n + 1, "image_id": int(owner[n]) + 1, "category_id": 1, "iscrowd": int(crowd[n]),
                "keypoints": points[n].ravel().tolist(), "num_keypoints": int((points[n, :, 2] > 0).sum()),
                "bbox": boxes[n].tolist(), "area": float(areas[n]),
            }
            for n in range(objects)
        ],
    }  # fmt: skip
    results = [
        {
            "image_id": int(owner[source[n]]) + 1, "category_id": 1, "score": float(scores[n]),
            "keypoints": np.hstack([found[n], np.ones((17, 1))]).ravel().tolist(),
        }
        for n in range(count)
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = document
        truth.createIndex()
        reference = COCOeval(truth, truth.loadRes(results), "keypoints")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    matching = match_keypoints(
        np.zeros(count, int), owner[source], scores, found, np.zeros(objects, int), owner, areas, boxes, crowd, points,
        num_classes=1, num_images=images,
    )  # fmt: skip
    mine = [-1.0 if v is None else v for v in keypoint_summary(matching).values()]
    assert mine == pytest.approx(reference.stats.tolist(), abs=1e-9)


def test_a_point_off_by_its_own_sigma_scores_e_to_minus_an_eighth() -> None:
    points = np.zeros((1, 17, 3))
    points[..., 2] = 2
    found = points[..., :2].copy()
    found[0, :, 0] = COCO_PERSON_SIGMAS * 100  # the object's size is 100 px
    one = np.zeros(1, int)
    matching = match_keypoints(
        one, one, np.ones(1), found, one, one, np.array([1e4]), np.array([[0.0, 0, 100, 100]]), np.zeros(1, bool),
        points, num_classes=1, num_images=1,
    )  # fmt: skip
    assert matching.match_overlap[0] == pytest.approx(np.exp(-1 / 8))


def test_another_number_of_points_is_refused() -> None:
    one = np.zeros(1, int)
    with pytest.raises(ValueError, match="5 points a detection, 17 an object"):
        match_keypoints(
            one, one, np.ones(1), np.zeros((1, 5, 2)), one, one, np.ones(1), np.ones((1, 4)), np.zeros(1, bool),
            np.zeros((1, 17, 3)), num_classes=1, num_images=1,
        )  # fmt: skip
