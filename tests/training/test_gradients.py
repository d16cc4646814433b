"""A batch in parts has the loss and the gradient of the batch as a whole."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from snellen.models.loss import LossTerm
from snellen.training import default_recipe
from snellen.training.gradients import Gradients
from snellen.training.rehearsal import rehearsal_of
from snellen.training.splits import split_examples
from snellen.training.tasks import task_of
from snellen.training.weights_ahead import rehearsed
from tests.training.subjects import digit_images, digit_scenes


def gradient(model: nn.Module, task: Any, parts: list[tuple[Tensor, Any]], loss: Any = None) -> tuple[float, Tensor]:
    model.zero_grad()
    torch.manual_seed(3)
    value, _ = Gradients(model, model, task, Accelerator(cpu=True), loss).add(parts)
    return float(value), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


class Noisy(nn.Module):
    """A classifier without batch statistics, but with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(3 * 32 * 32, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def of_two_terms(logits: Tensor, labels: Tensor) -> dict[str, LossTerm]:
    """One term over all images, another over the ones that the network is sure of: only its outputs tell how many."""
    p = logits.softmax(1)
    sure = p.max(1).values > 0.12
    hit = nn.functional.cross_entropy(logits, labels, reduction="none")
    return {
        "all": LossTerm(hit.sum(), hit.new_tensor(float(len(hit)))),
        "sure": LossTerm((hit * sure).sum(), sure.sum().float()),
    }


@pytest.mark.parametrize("loss", [None, of_two_terms])
def test_parts_of_uneven_size_add_up(tmp_path: Path, loss: Any) -> None:
    data = digit_images(tmp_path, 30)
    recipe = default_recipe(data)
    model = Noisy().eval()
    task = task_of(recipe, split_examples(data), model)
    torch.manual_seed(0)
    x, labels = torch.randn(12, 3, 32, 32), torch.randint(10, (12,))
    whole, one = gradient(model, task, [(x, labels)], loss)
    cut, two = gradient(model, task, [(x[:5], labels[:5]), (x[5:7], labels[5:7]), (x[7:], labels[7:])], loss)
    assert cut == pytest.approx(whole, rel=1e-6)
    assert torch.allclose(one, two, atol=1e-7)


@pytest.mark.parametrize(("loss", "known"), [("ce", True), ("focal", True), ("ohem-ce", False), ("ce+focal", True)])
def test_a_classifier_knows_its_weights_from_labels_and_shares(tmp_path: Path, loss: str, known: bool) -> None:
    data = digit_images(tmp_path, 30)
    recipe = default_recipe(data, loss=loss, class_weights="balanced")
    split = split_examples(data)
    task: Any = task_of(recipe, split, Noisy())
    torch.manual_seed(0)
    labels = torch.randint(10, (7,))
    for targets in (labels, nn.functional.one_hot(labels, 10).float()):
        found = task.weights(targets)
        assert (found is not None) == known
        if known:
            terms = task.loss(torch.randn(7, 10), targets).terms
            assert {n: float(w) for n, w in found.items()} == {n: float(t.weight) for n, t in terms.items()}
    assert task.weights(labels, lambda outputs, targets: outputs.mean()) is None


def test_a_detector_in_parts_divides_by_all_positives(tmp_path: Path) -> None:
    data = digit_scenes(tmp_path, 16, side=64)
    recipe = default_recipe(data, image_size=64, batch_size=6)
    trial = rehearsal_of(data, recipe)
    model = trial.network.eval()  # BatchNorm would look at each part alone
    x, targets = trial.batches[0]
    task = task_of(recipe, split_examples(data), model)
    whole, one = gradient(model, task, [(x, targets)])
    cut, two = gradient(model, task, [(x[:1], targets[:1]), (x[1:4], targets[1:4]), (x[4:], targets[4:])])
    assert cut == pytest.approx(whole, rel=1e-5)
    assert (one - two).norm() <= 1e-5 * one.norm()


def test_the_weights_come_from_the_very_pass_that_is_learned_from() -> None:
    """Dropout decides which images are counted; the rehearsal and the step drop the same units."""
    torch.manual_seed(0)
    model = Noisy().train()
    counted: list[float] = []

    class Task:
        def loss(self, outputs: Tensor, targets: Tensor, replacement: Any) -> Any:
            from snellen.training.tasks.base import BatchLoss

            terms = of_two_terms(outputs, targets)
            counted.append(float(terms["sure"].weight))
            return BatchLoss(terms)

    x, labels = torch.randn(12, 3, 32, 32), torch.randint(10, (12,))
    gradient(model, Task(), [(x[:6], labels[:6]), (x[6:], labels[6:])])
    assert counted[:2] == counted[2:]


def test_a_rehearsal_leaves_statistics_and_generators() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    with rehearsed(model):
        model(torch.randn(2, 3, 8, 8))
    assert torch.equal(torch.rand(3), wanted)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
