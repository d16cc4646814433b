"""Exported files against the networks they were made of, and what stands in the way of writing one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import snellen
from snellen.cli.app import app
from snellen.errors import UseError
from snellen.models import create
from snellen.models.detection.mask_rcnn import paste_masks
from snellen.training import checkpoint
from snellen.training.export import ExportError, export_model
from snellen.training.export_check import paired_differences
from snellen.training.recipe import Recipe
from snellen.training.run_folder import RunFolder, write_model

CLASSES = ["knife", "fork", "größe 3"]
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
SIZES = {"classification": 32, "detection": 64}


def write_run(folder: Path, task: str, name: str) -> nn.Module:
    """A run folder with an untrained network whose norms have seen something; returns the network."""
    size = SIZES[task]
    recipe = Recipe.build({"task": task, "model": name, "image_size": size, "mean": MEAN, "std": STD})
    torch.manual_seed(0)
    model = create(name, task=task, num_classes=len(CLASSES), image_size=size)
    model(torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1)))
    folder.mkdir()
    run = RunFolder(folder)
    run.recipe.write_text(recipe.to_toml(), encoding="utf-8")
    write_model(run, CLASSES, None)
    checkpoint.save_atomically({"model": model.state_dict()}, run.best)
    return model.eval()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, nn.Module]]:
    folder = tmp_path_factory.mktemp("export")
    return {
        task: (folder / task, write_run(folder / task, task, name))
        for task, name in (("classification", "small-resnet"), ("detection", "yolov3-tiny"))
    }


def described(text: str, task: str) -> None:
    told = json.loads(text)
    assert told["task"] == task
    assert told["class_names"] == CLASSES
    assert told["image_size"] == SIZES[task]
    assert (tuple(told["mean"]), tuple(told["std"])) == (MEAN, STD)
    assert list(told["outputs"]) == (["logits"] if task == "classification" else ["boxes", "scores"])


def said(model: nn.Module, x: Tensor, task: str) -> list[Tensor]:
    with torch.no_grad():
        return [model(x)] if task == "classification" else list(model.decoded(model(x)))  # type: ignore[operator]


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_pt2_says_what_the_network_says(task: str, runs: dict[str, tuple[Path, nn.Module]], tmp_path: Path) -> None:
    folder, model = runs[task]
    done = snellen.export(folder, tmp_path / "new" / "it.pt2")
    assert done.differences.keys() == done.outputs.keys()
    extra = {"snellen.json": ""}
    program = torch.export.load(tmp_path / "new" / "it.pt2", extra_files=extra)
    described(extra["snellen.json"], task)
    for images in (1, 5):
        x = torch.randn(images, 3, SIZES[task], SIZES[task], generator=torch.Generator().manual_seed(images))
        for got, wanted in zip(program.module()(x), said(model, x, task), strict=True):
            assert torch.allclose(got, wanted, atol=1e-5)


def test_onnx_says_what_the_network_says(
    runs: dict[str, tuple[Path, nn.Module]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    task = "detection"
    folder, model = runs[task]
    path = tmp_path / "it.onnx"
    app(["export", str(folder), "-o", str(path)], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "largest difference" in printed
    assert "(N, " in printed
    file = onnx.load(path)
    onnx.checker.check_model(file, full_check=True)
    described({p.key: p.value for p in file.metadata_props}["snellen"], task)
    x = torch.randn(1, 3, SIZES[task], SIZES[task], generator=torch.Generator().manual_seed(3))
    session = onnx.reference.ReferenceEvaluator(file)
    for got, wanted in zip(session.run(None, {"images": x.numpy()}), said(model, x, task), strict=True):
        assert np.allclose(got, wanted.numpy(), atol=1e-4)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_there_stays_unless_forced(runs: dict[str, tuple[Path, nn.Module]], tmp_path: Path) -> None:
    folder, _ = runs["classification"]
    path = tmp_path / "it.pt2"
    path.write_text("mine")
    with pytest.raises(UseError, match="--force"):
        snellen.export(folder, path)
    assert path.read_text() == "mine"
    snellen.export(folder, path, force=True)
    assert path.stat().st_size > 1000
    for name, said in (("it", "end the name"), ("it.pt", "end the name")):
        with pytest.raises(UseError, match=said):
            snellen.export(folder, tmp_path / name)
    with pytest.raises(UseError, match="is a folder"):
        snellen.export(folder, tmp_path, format="pt2")
    with pytest.raises(UseError, match="not a run folder"):
        snellen.export(tmp_path, tmp_path / "other.pt2")
    assert list(tmp_path.iterdir()) == [path]


class Odd(nn.Module):
    """Says something else when it is traced, or cannot be traced at all."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.layer = nn.Linear(3, 2)
        self.register_buffer("offset", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.mean(dim=(2, 3)))
        if self.kind == "differs" and torch.compiler.is_compiling():
            out = out + 0.01
        if self.kind == "nan":
            out = out / 0 * 0
        if self.kind == "looks" and x.sum() > 0:
            out = -out
        if self.kind == "counts" and len(x) == 2:
            out = -out
        return out


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("differs", "differs from the original"), ("nan", "by nan"),
     ("looks", "Odd cannot be exported to pt2"), ("counts", "Odd cannot be exported to pt2")],
)  # fmt: skip
def test_a_file_that_would_differ_is_not_kept(kind: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "it.pt2"
    path.write_text("the old one")
    torch.manual_seed(0)
    with pytest.raises(ExportError, match=reason) as caught:
        export_model(Odd(kind), path, format="pt2", image_size=16)
    assert "\n" not in str(caught.value)
    assert path.read_text() == "the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create("small-resnet", task="classification", num_classes=2, image_size=32).train()
    model.backbone.eval()  # type: ignore[operator, union-attr]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    export_model(model, tmp_path / "it.pt2", format="pt2", image_size=32)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [model.training, model.backbone.training, model.head.training] == [True, False, True]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["rcnn", "spp-net", "fast-rcnn"])
def test_detectors_that_are_given_their_regions_say_why_not(name: str, tmp_path: Path) -> None:
    model = create(name, task="detection", num_classes=2, image_size=64)
    with pytest.raises(ExportError, match="selective search") as caught:
        export_model(model, tmp_path / "it.pt2", format="pt2", image_size=64)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def two_stages(name: str, **options: Any) -> nn.Module:
    """A network whose detections are spread in score and place."""
    torch.manual_seed(0)
    model = create(name, task="detection", num_classes=3, image_size=64, **options)
    with torch.no_grad():
        model(torch.randn(4, 3, 64, 64))
        for key, value in model.named_parameters():
            if "rpn.head" in key or "box_predictor" in key:
                value.mul_(10.0)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize(
    "name", ["faster-rcnn", "mask-rcnn", *(pytest.param(n, marks=pytest.mark.slow) for n in ("cascade-rcnn",))]
)
def test_two_stages_as_a_file_find_what_the_network_detects(name: str, tmp_path: Path) -> None:
    model = two_stages(name)
    done = export_model(model, tmp_path / "it.pt2", format="pt2", image_size=64)
    assert "detections alike" in str(done)
    extra = {"snellen.json": ""}
    program = torch.export.load(tmp_path / "it.pt2", extra_files=extra).module()
    told = json.loads(extra["snellen.json"])
    assert list(told["outputs"]) == list(done.outputs)
    assert "torchvision" in told["needs"]
    for images in (1, 2):
        x = torch.randn(images, 3, 64, 64, generator=torch.Generator().manual_seed(images))
        boxes, scores, labels, *masks = program(x)
        found = model.detect(model(x), min_score=0.3)  # type: ignore[operator]
        for i, wanted in enumerate(found):
            rows = (scores[i] >= 0.3).nonzero().squeeze(1)
            assert 0 < len(rows) < 100
            assert torch.equal(labels[i][rows], wanted.labels)
            assert torch.allclose(scores[i][rows], wanted.scores, atol=1e-5)
            assert torch.allclose(boxes[i][rows], wanted.boxes, atol=1e-3)
            if masks:
                pasted = paste_masks(masks[0][i][rows], boxes[i][rows], 64)
                assert int((pasted != wanted.masks).sum()) <= 2  # a cell at 0.5 but for rounding


def test_two_stages_as_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    done = export_model(two_stages("faster-rcnn"), tmp_path / "it.onnx", format="onnx", image_size=64)
    assert "detections alike" in done.checked_by
    assert done.outputs["boxes"] == (3, 100, 4)
    assert done.per_image == set(done.outputs)
    onnx.checker.check_model(onnx.load(tmp_path / "it.onnx"), full_check=True)


@torch.no_grad()
def test_a_program_of_fixed_shapes_fills_up_where_little_is_found() -> None:
    model = two_stages("faster-rcnn")
    x = torch.randn(2, 3, 64, 64)
    tenth = float(model(x).rpn.objectness.sigmoid().sort(dim=1).values[:, -10].min())
    model.rpn.settings = model.rpn.settings.model_copy(update={"min_score": tenth})  # type: ignore[operator, union-attr]
    few = [len(b) for b in model(x).regions.boxes]
    found = model.program(x)  # type: ignore[operator]
    for i, rows in enumerate(model.program_rows(model(x))):  # type: ignore[operator]
        count = len(rows["scores"])
        assert 0 < few[i] <= 30
        assert 0 < count < 100
        assert torch.equal(found["labels"][i, :count], rows["labels"])
        assert torch.allclose(found["boxes"][i, :count], rows["boxes"], atol=1e-3)
        assert (found["labels"][i, count:] == -1).all()
        assert not found["scores"][i, count:].any()
        assert not found["boxes"][i, count:].any()


def detected(count: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    return {"boxes": rng.uniform(0, 64, (count, 4)), "scores": rng.uniform(0.1, 1, count), "labels": labels}


def test_detections_are_compared_with_their_partners_in_any_order() -> None:
    wanted = [detected(100, 0), detected(60, 1)]
    there = {name: np.stack([np.pad(w[name], [(0, 100 - len(w[name])), *[(0, 0)] * (w[name].ndim - 1)])
                             for w in wanted]) for name in wanted[0]}  # fmt: skip
    shapes = {name: value.shape for name, value in there.items()}

    def gaps(**changed: np.ndarray) -> tuple[dict[str, float], str]:
        return paired_differences(wanted, there | changed, shapes, 1e-4, "the file")

    order = np.random.default_rng(2).permutation(100)
    assert gaps(**{k: v[:, order] for k, v in there.items()}) == (
        {"boxes": 0.0, "scores": 0.0, "labels": 0.0}, "160 of 160 detections alike",
    )  # fmt: skip
    near = gaps(boxes=there["boxes"] + 1e-3)
    assert near[0]["boxes"] == pytest.approx(1e-3)
    one = there["labels"].copy()
    one[0, :3] += 1
    assert gaps(labels=one)[1] == "157 of 160 detections alike"
    nine = there["scores"].copy()
    nine[1, :9] += 0.01
    with pytest.raises(ExportError, match="9 of the 160 detections"):
        gaps(scores=nine)
    lost = there["scores"].copy()
    lost[0, 50:] = 0
    with pytest.raises(ExportError, match="50 of the 160"):
        gaps(scores=lost)
    with pytest.raises(ExportError, match="of the 160"):
        gaps(boxes=there["boxes"] * np.nan)
    with pytest.raises(ExportError, match="shape"):
        gaps(boxes=there["boxes"][:, :50])


@torch.no_grad()
@pytest.mark.parametrize(
    "name", ["ssdlite", "ssd", "retinanet", "fcos", "centernet", "yolov1", "yolov2", "yolov3", "yolov3-tiny"]
)
def test_boxes_and_scores_of_a_file_are_what_is_detected(name: str) -> None:
    torch.manual_seed(0)
    model = create(name, task="detection", num_classes=3, image_size=64).eval()
    outputs = model(torch.randn(2, 3, 64, 64))
    boxes, scores = model.decoded(outputs)  # type: ignore[operator]
    found = model.detect(outputs, min_score=0.0, nms_iou=1.0, limit=8)  # type: ignore[operator]
    assert boxes.shape == (*scores.shape[:2], 4)
    for i in range(2):
        best = scores[i].flatten().topk(8)
        assert torch.equal(found[i].scores, best.values)
        assert torch.allclose(found[i].boxes, boxes[i][best.indices // 3].clamp(0, 64), atol=1e-4)
