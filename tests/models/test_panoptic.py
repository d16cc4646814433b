"""Merging semantic scores with instances: hand-worked maps, the files, and their panoptic quality."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.data.examine import examine
from snellen.evaluation.panoptic import PanopticImage, Segment, evaluate_panoptic
from snellen.findings.severity import Tier
from snellen.models.segmentation.panoptic import Panoptic, merge_panoptic
from snellen.models.segmentation.panoptic_files import write_panoptic
from snellen.verbs.scoring.panoptic import score_panoptic

CLASSES = ["cat", "dog", "sky", "grass"]
THINGS, STUFF = [0, 1], [2, 3]


def semantic(labels: np.ndarray) -> torch.Tensor:
    """Scores (4, H, W) that say `labels`."""
    return torch.nn.functional.one_hot(torch.from_numpy(labels).long(), 4).permute(2, 0, 1).float()


def rectangle(y: int, x: int, h: int, w: int, shape: tuple[int, int] = (10, 12)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[y : y + h, x : x + w] = True
    return mask


def merged(masks: list[np.ndarray], scores: list[float], labels: list[int], **options: float) -> Panoptic:
    """Sky above grass, with things on it."""
    ground = np.full((10, 12), 3)
    ground[:5] = 2
    ground[0, :4] = 1  # the semantic side says dog: no stuff
    return merge_panoptic(
        semantic(ground),
        torch.from_numpy(np.array(masks).reshape(-1, 10, 12)),
        torch.tensor(scores),
        torch.tensor(labels),
        stuff=STUFF,
        **{"min_stuff_area": 1, **options},
    )


def test_the_better_instance_is_on_top_and_stuff_takes_the_rest():
    found = merged([rectangle(2, 2, 4, 4), rectangle(2, 4, 4, 4)], [0.6, 0.9], [0, 1])
    assert [(s.label, s.thing, s.area, s.score) for s in found.segments] == [
        (1, True, 16, pytest.approx(0.9)),
        (0, True, 8, pytest.approx(0.6)),
        (2, False, 60 - 4 - 18, None),
        (3, False, 60 - 6, None),
    ]
    assert (found.ids[2:6, 4:8] == 1).all()
    assert (found.ids[2:6, 2:4] == 2).all()
    assert (found.ids[0, :4] == 0).all()
    assert [int((found.ids == s.id).sum()) for s in found.segments] == [s.area for s in found.segments]


def test_what_is_left_out():
    hidden = rectangle(2, 3, 4, 4)  # three quarters of it lie under the first
    low = rectangle(7, 8, 2, 2)
    found = merged([rectangle(2, 2, 4, 4), hidden, low, np.zeros((10, 12), bool)], [0.9, 0.8, 0.4, 0.9], [0, 0, 1, 1])
    assert [s.label for s in found.segments] == [0, 2, 3]
    assert (found.ids[2:6, 6] != 1).all()
    shown = merged([rectangle(2, 2, 4, 4), hidden, low], [0.9, 0.8, 0.4], [0, 0, 1], min_visible=0.2, min_score=0.3)
    assert [s.label for s in shown.segments] == [0, 0, 1, 2, 3]
    small = merged([], [], [], min_stuff_area=57)
    assert [(s.label, s.area) for s in small.segments] == [(3, 60)]
    assert (small.ids[:5] == 0).all()


def test_no_pixel_twice_whatever_the_instances():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        scores = torch.rand(4, 20, 20, generator=generator)
        masks = torch.nn.functional.interpolate(torch.rand(1, 6, 5, 5, generator=generator), (20, 20))[0] > 0.6
        found = merge_panoptic(
            scores, masks, torch.rand(6, generator=generator), torch.randint(2, (6,), generator=generator),
            stuff=STUFF, min_stuff_area=10,
        )  # fmt: skip
        assert sorted(np.unique(found.ids[found.ids > 0]).tolist()) == [s.id for s in found.segments]
        assert sum(s.area for s in found.segments) == (found.ids > 0).sum()


def test_masks_must_fit():
    with pytest.raises(ValueError, match="2 scores"):
        merge_panoptic(
            torch.zeros(4, 8, 8), torch.zeros(2, 8, 9, dtype=torch.bool), torch.zeros(2), torch.zeros(2), stuff=[2]
        )


def test_true_parts_merge_to_full_quality():
    masks = [rectangle(2, 2, 4, 4), rectangle(6, 7, 3, 4)]
    found = merged(masks, [0.9, 0.8], [0, 1])
    named = [Segment(s.id, CLASSES[s.label]) for s in found.segments]
    scores = evaluate_panoptic(
        [PanopticImage("a", found.ids, named, found.ids, named)], CLASSES, [CLASSES[k] for k in THINGS]
    )
    assert scores.score("pq") == 1
    less = merged(masks[:1], [0.9], [0])
    other = [Segment(s.id, CLASSES[s.label]) for s in less.segments]
    scores = evaluate_panoptic(
        [PanopticImage("a", found.ids, named, less.ids, other)], CLASSES, [CLASSES[k] for k in THINGS]
    )
    assert scores.score("pq_things") == pytest.approx(0.5)


def test_written_files_are_scored_as_the_maps_are(tmp_path):
    truth = merged([rectangle(2, 2, 4, 4), rectangle(6, 7, 3, 4)], [0.9, 0.8], [0, 1])
    said = merged([rectangle(2, 2, 4, 5), rectangle(6, 7, 3, 4)], [0.7, 0.8], [0, 1])
    root = tmp_path / "set"
    write_panoptic(root / "panoptic_val.json", [(7, "a.jpg", truth)], [1, 2, 30, 40])
    document = json.loads((root / "panoptic_val.json").read_text())
    document["images"] = [{"id": 7, "file_name": "a.jpg", "width": 12, "height": 10}]
    document["categories"] = [
        {"id": i, "name": n, "isthing": int(n in ("cat", "dog"))} for i, n in zip([1, 2, 30, 40], CLASSES, strict=True)
    ]
    (root / "panoptic_val.json").write_text(json.dumps(document))
    Image.fromarray(np.zeros((10, 12, 3), np.uint8)).save(root / "a.jpg")
    write_panoptic(tmp_path / "said" / "mine.json", [(7, "a.jpg", said)], [1, 2, 30, 40])
    written = json.loads((tmp_path / "said" / "mine.json").read_text())["annotations"][0]["segments_info"]
    assert written[0] == {"id": 1, "category_id": 2, "bbox": [7, 6, 4, 3], "iscrowd": 0, "area": 12}

    data = examine(root, tier=Tier.PIXELS)
    files = score_panoptic(tmp_path / "said" / "mine.json", data, None, lambda *_: None)
    named = [[Segment(s.id, CLASSES[s.label]) for s in found.segments] for found in (truth, said)]
    maps = evaluate_panoptic(
        [PanopticImage("a", truth.ids, named[0], said.ids, named[1])], CLASSES, [CLASSES[k] for k in THINGS]
    )
    assert files.score("pq") == maps.score("pq")
    assert 0.5 < maps.score("pq") < 1
    with pytest.raises(ValueError, match="leads out"):
        write_panoptic(tmp_path / "mine.json", [(7, "../a.jpg", said)], [1, 2, 30, 40])
