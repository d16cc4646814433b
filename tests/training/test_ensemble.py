"""Networks that answer together."""

from pathlib import Path

import pytest
import torch

from snellen.models import create
from snellen.models.detection.parts.wbf import weighted_boxes_fusion
from snellen.training import default_recipe
from snellen.training.ensemble import Ensemble
from snellen.training.predict import load_run, predict
from snellen.training.run_folder import RunFolder
from snellen.training.snapshots import snapshot_files
from snellen.training.trainer import train
from tests.training.subjects import digit_images


def test_snapshots_of_a_run_predict_the_mean(tmp_path: Path) -> None:
    data = digit_images(tmp_path / "data", 48, side=16)
    recipe = default_recipe(data, epochs=4, batch_size=8, schedule="restarts", cycles=4, snapshots=3, warmup_steps=0)
    train(data, recipe, tmp_path / "run")
    files = snapshot_files(RunFolder(tmp_path / "run"))
    assert [f.name for f in files] == ["snapshot-2.pt", "snapshot-3.pt", "snapshot-4.pt"]
    together, _, names = load_run(tmp_path / "run")
    assert isinstance(together, Ensemble)
    single, _, _ = load_run(tmp_path / "run", together=False)
    x = torch.randn(5, 3, recipe.image_size, recipe.image_size)
    with torch.no_grad():
        mean = torch.zeros(5, len(names))
        for file in files:
            single.load_state_dict(torch.load(file, weights_only=True)["model"])
            mean += single(x).softmax(1) / 3
        assert torch.allclose(together(x).softmax(1), mean, atol=1e-6)
    told = predict(together, recipe, names, [tmp_path / "data" / data.images["image"][0]])
    assert told.predictions.height == 1


def test_detectors_fuse_their_boxes() -> None:
    members = []
    for seed in range(2):
        torch.manual_seed(seed)
        members.append(create("ssdlite", task="detection", num_classes=3, image_size=64).eval())
    together = Ensemble(members).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found = together.detect(together(x), min_score=0.001, nms_iou=0.55, limit=20)
        alone = [m.detect(m(x), min_score=0.001, nms_iou=0.55, limit=20) for m in members]
    for i, image in enumerate(found):
        told = [a[i] for a in alone]
        boxes, scores, _ = weighted_boxes_fusion([t.boxes for t in told], [t.scores for t in told],
                                                 [t.labels for t in told], iou=0.55)  # fmt: skip
        kept = scores >= 0.001
        assert torch.equal(image.boxes, boxes[kept][:20])
        assert 0 < len(image.boxes) <= 20
        assert image.scores.diff().max() <= 0


@pytest.mark.parametrize("count", [1, 4])
def test_equal_networks_say_what_one_says(count: int) -> None:
    torch.manual_seed(0)
    model = create("small-resnet", task="classification", num_classes=4, image_size=32).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(Ensemble([model] * count)(x).softmax(1), model(x).softmax(1), atol=1e-6)
