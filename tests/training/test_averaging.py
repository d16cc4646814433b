"""Averages of weights, against torch's own."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from snellen.training import default_recipe
from snellen.training.averaging import carried
from snellen.training.ema import AveragedWeights
from snellen.training.predict import load_run
from snellen.training.swa import StochasticAverage, renew_batchnorm
from snellen.training.trainer import train
from tests.training.subjects import digit_images


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))


def moved(model: nn.Module, times: int) -> None:
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1 * times)


def test_the_mean_of_weights_and_its_statistics_are_torchs() -> None:
    model, images = network(), [torch.randn(6, 3, 8, 8) + 1 for _ in range(4)]
    theirs, ours = AveragedModel(model), StochasticAverage()
    for epoch in range(4):
        moved(model, epoch)
        theirs.update_parameters(model)
        ours.after_epoch(model)
    last = copy.deepcopy(model.state_dict())
    update_bn(images, theirs)
    with carried(model, ours):
        model.train()
        renew_batchnorm(model, ((x,) for x in images))
        found = copy.deepcopy(model.state_dict())
    for name, value in theirs.module.state_dict().items():
        assert torch.allclose(value, found[name], atol=1e-6), name
    assert all(torch.equal(value, last[name]) for name, value in model.state_dict().items())
    again = StochasticAverage()
    again.load_state_dict(ours.state_dict(), torch.device("cpu"))
    assert again.count == 4


def test_the_moving_average_is_torchs_once_it_is_old() -> None:
    model = network()
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    ours = AveragedWeights(model, 0.9)
    theirs.update_parameters(model)  # torch's first call copies
    for step in range(1000, 1006):  # from step 81 on its decay is 0.9
        moved(model, 1)
        theirs.update_parameters(model)
        ours.after_step(model, step)
    for name, value in theirs.module.named_parameters():
        assert torch.allclose(value, ours.values[name], atol=1e-6)


def test_frozen_norms_keep_their_statistics() -> None:
    model = network()
    model.train()
    model[1].eval()
    renew_batchnorm(model, [(torch.randn(4, 3, 8, 8) + 5,)])
    assert float(model[1].running_mean.abs().max()) == 0


def test_the_average_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    data = digit_images(tmp_path / "data", 60, side=16)
    recipe = default_recipe(data, epochs=3, batch_size=16, swa_epochs=2, swa_lr=0.01, schedule="constant")
    trained = train(data, recipe, tmp_path / "run")
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert last["average"]["count"] == 2
    weights = load_run(tmp_path / "run")[0].state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in trained.model.state_dict().items())
    if trained.best_epoch == 2:
        name = "head.weight"
        assert torch.allclose(weights[name], last["average"]["values"][name])
        assert not torch.equal(weights[name], last["model"][name])
    assert trained.epochs["val_loss"].is_finite().all()
    lines = (tmp_path / "run" / "steps.jsonl").read_text().splitlines()
    assert '"lr": 0.01,' in lines[-1]
    assert '"lr": 0.01,' not in lines[1]


@pytest.mark.parametrize("count", [1, 3])
def test_a_mean_of_equal_weights_is_the_weights(count: int) -> None:
    model, average = network(), StochasticAverage()
    for _ in range(count):
        average.after_epoch(model)
    assert all(torch.allclose(average.values[k], v) for k, v in model.state_dict().items())
