"""Features and estimators behind the face of a network."""

import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from snellen.models import create
from snellen.models.classical import ESTIMATOR_NAMES, FEATURE_NAMES, is_classical
from snellen.models.classical.classifier import ClassicalClassifier
from snellen.models.classical.estimators import ESTIMATORS
from snellen.models.classical.features import FEATURES
from snellen.models.classical.store import StoreError, load, save
from snellen.models.registry import ModelError, check_name

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def pictures(count: int = 240) -> tuple[torch.Tensor, np.ndarray]:
    """Scanned digits, 32 x 32, (N, 3, 32, 32) uint8."""
    data = load_digits()
    large = [cv2.resize((image * 15).astype(np.uint8), (32, 32)) for image in data.images[:count]]
    return torch.from_numpy(np.stack(large))[:, None].repeat(1, 3, 1, 1).contiguous(), data.target[:count]


def normalised(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (MEAN, STD))
    return (images.float() - mean) / std


def test_the_names_are_those_there_are() -> None:
    assert set(FEATURE_NAMES) == set(FEATURES)
    assert set(ESTIMATOR_NAMES) == set(ESTIMATORS)


@pytest.mark.parametrize("name", ESTIMATOR_NAMES)
def test_every_estimator_learns_digits_and_is_the_same_when_read_again(name: str, tmp_path: Path) -> None:
    images, labels = pictures()
    model = ClassicalClassifier(f"raw+{name}", 10, mean=MEAN, std=STD)
    described = model.features(images)
    if name == "boosting":
        model.estimator[-1].max_iter = 10
    model.estimator.fit(described[:180], labels[:180])
    found = model(normalised(images[180:]))
    assert found.shape == (60, 10)
    assert torch.isfinite(found).all()
    assert (found.argmax(1).numpy() == labels[180:]).mean() >= 0.55  # one in ten by chance
    assert (found.argmax(1).numpy() == model.estimator.predict(described[180:])).mean() == 1.0
    save(model.estimator, tmp_path / "kept.skops")
    model.estimator = load(tmp_path / "kept.skops")
    assert torch.equal(model(normalised(images[180:])), found)


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_features_do_not_depend_on_the_batch(name: str) -> None:
    images, _ = pictures(6)
    whole = FEATURES[name](images)
    assert whole.dtype == np.float32
    assert np.array_equal(whole, np.concatenate([FEATURES[name](images[i : i + 1]) for i in range(6)]))


def test_colour_counts_pixels() -> None:
    images = torch.zeros(1, 3, 10, 10, dtype=torch.uint8)
    images[0, 0, :5] = 255  # the upper half is red
    shares = FEATURES["colour"](images)[0] ** 2
    assert sorted(shares[shares > 0].tolist()) == pytest.approx([0.5, 0.5])


def test_a_frozen_network_gives_its_pooled_features() -> None:
    images, labels = pictures(60)
    torch.manual_seed(0)
    model = ClassicalClassifier("resnet18+nearest-mean", 10, mean=MEAN, std=STD)
    described = model.features(images)
    assert described.shape == (60, 512)
    model.estimator.fit(described, labels)
    assert model(normalised(images)).shape == (60, 10)


def test_a_class_that_was_never_seen_is_never_told() -> None:
    images, labels = pictures(100)
    model = ClassicalClassifier("raw+logistic", 12, mean=MEAN, std=STD)
    model.estimator.fit(model.features(images), labels)
    found = model(normalised(images))
    assert found.shape == (100, 12)
    assert int(found.argmax(1).max()) <= 9


def test_names_are_checked() -> None:
    check_name("hog+colour+svm-rbf", "classification")
    check_name("resnet18+nearest-mean")
    assert not is_classical("resnet18")
    with pytest.raises(ModelError, match="hgo"):
        check_name("hgo+svm", "classification")
    with pytest.raises(ModelError, match="no network but features"):
        create("hog+svm", task="classification", num_classes=3, image_size=64)


def test_a_file_with_other_types_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.skops"
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(np.eye(4), [0, 1, 0, 1])
    save(fitted, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(parts["schema.json"])
    schema["__module__"], schema["__class__"] = "os", "system"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {**parts, "schema.json": json.dumps(schema).encode()}.items():
            archive.writestr(name, content)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(StoreError, match="os"):
        load(path)
    path.write_bytes(b"PK nothing")
    with pytest.raises(StoreError, match="not a saved estimator"):
        load(path)


@pytest.mark.parametrize("name", ["tree", "forest", "boosting"])
def test_a_tree_that_leads_out_of_its_arrays_is_refused(name: str, tmp_path: Path) -> None:
    images, labels = pictures(120)
    model = ClassicalClassifier(f"raw+{name}", 10, mean=MEAN, std=STD)
    last = model.estimator[-1]
    if name == "boosting":
        last.max_iter = 2
    model.estimator.fit(model.features(images), labels)
    if name == "boosting":
        last._predictors[0][0].nodes["feature_idx"][0] = 10**6
    else:
        # The arrays of a tree are views of its nodes: what is written here is what is saved.
        (last if name == "tree" else last.estimators_[0]).tree_.children_left[0] = 10**6
    save(model.estimator, tmp_path / "bad.skops")
    with pytest.raises(StoreError, match="tree"):
        load(tmp_path / "bad.skops")
