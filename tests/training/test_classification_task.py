"""The losses of image labels: by name, weighted, and of mixed images."""

import math

import pytest
import torch

from snellen.errors import UseError
from snellen.models.losses import focal
from snellen.training.recipe import Recipe
from snellen.training.splits import Example
from snellen.training.tasks.classification import ClassificationTask

NAMES = ["a", "b", "c"]
TRAIN = [Example(str(i), label=k) for i, k in enumerate([0, 0, 0, 0, 1, 1, 2, 2])]
VAL = [Example(str(i), label=k) for i, k in enumerate([0, 1, 1, 1])]


def task(**fields: object) -> ClassificationTask:
    recipe = Recipe.build({"task": "classification", "model": "any", "image_size": 64, **fields})
    return ClassificationTask(recipe, NAMES, VAL, TRAIN)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    return logits, torch.tensor([0, 1, 2, 1, 0])


def test_cross_entropy_unless_something_else_is_said():
    logits, labels = batch()
    plain = task()
    assert (plain.loss_kind, plain.initial_loss_expected) == ("cross-entropy", pytest.approx(math.log(3)))
    assert plain.baseline_metric == pytest.approx(0.75)
    told = plain.loss(logits, labels)
    (term,) = told.terms.values()
    assert torch.allclose(term.total / term.weight, torch.nn.functional.cross_entropy(logits, labels))
    assert told.counts["correct"] == (logits.argmax(dim=1) == labels).sum()


def test_focal_loss_with_class_weights():
    logits, labels = batch()
    focused = task(loss="focal", focal_gamma=1.0, class_weights="balanced")
    (term,) = focused.loss(logits, labels).terms.values()
    expected = focal(logits, labels, gamma=1.0, class_weights=torch.tensor([8 / 12, 8 / 6, 8 / 6]))
    assert torch.allclose(term.total, expected.total)
    assert torch.allclose(term.weight, expected.weight)
    assert focused.initial_loss_expected == pytest.approx(2 / 3 * math.log(3))


@pytest.mark.parametrize("loss", ["ce", "focal", "ohem-ce", "ce+focal"])
def test_mixed_images(loss):
    logits, labels = batch()
    shares = torch.nn.functional.one_hot(labels, 3).float()
    told, same = (task(loss=loss).loss(logits, t) for t in (labels, shares))
    assert told.counts == same.counts
    for name, term in told.terms.items():
        assert torch.allclose(term.total, same.terms[name].total)


def test_losses_of_regions_are_refused():
    with pytest.raises(UseError, match="no loss is called 'dice'"):
        task(loss="dice")
