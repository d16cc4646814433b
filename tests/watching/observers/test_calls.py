import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR

import snellen


def sequences(body: Callable[..., None], steps: int = 5, **kinds: Any) -> list[str]:
    """The sequences of the first optimizer, the commonest first; `body` runs one step of the loop."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    more = {name: make(optimizer) for name, make in kinds.items()}
    with snellen.watch(model, optimizer, trials=False) as watch:
        for _ in range(steps):
            loss = body(model, optimizer, **more)
            watch.step(loss=loss)
    rows = watch.facts().calls
    assert rows["steps"].sum() == steps
    assert "zero_grad" not in optimizer.__dict__
    return rows["sequence"].to_list()


def loss_of(model: nn.Module) -> torch.Tensor:
    return model(torch.randn(8, 4)).square().mean()


def plain(model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    optimizer.zero_grad()
    loss = loss_of(model)
    loss.backward()
    optimizer.step()
    return loss


def test_a_plain_loop() -> None:
    assert sequences(plain) == ["recorded, zero_grad, forward, backward, step", "zero_grad, forward, backward, step"]


@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_cleared_by_the_model_are_seen(to_none: bool) -> None:
    def body(model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        loss = loss_of(model)
        model.zero_grad(set_to_none=to_none)
        loss.backward()
        optimizer.step()
        return loss

    assert sequences(body)[0] == "recorded, forward, zero_grad, backward, step"


def test_a_wrapped_method_looks_like_the_method() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with snellen.watch(model, optimizer, trials=False):
        assert list(inspect.signature(optimizer.zero_grad).parameters) == ["set_to_none"]
        copy.deepcopy(optimizer).zero_grad()
        assert "zero_grad" in vars(optimizer)
    assert "zero_grad" not in vars(optimizer)


def test_no_clearing() -> None:
    def body(model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        return loss

    assert sequences(body)[0] == "recorded, forward, backward, step"


def test_clearing_between_backward_and_step() -> None:
    def body(model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        loss = loss_of(model)
        loss.backward()
        model.zero_grad(set_to_none=False)
        optimizer.step()
        return loss

    assert sequences(body)[0] == "recorded, forward, backward, zero_grad, step"


def test_clipping_before_and_after_the_step() -> None:
    def before(model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    def after(model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        loss = plain(model, optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        return loss

    assert sequences(before)[0] == "recorded, zero_grad, forward, backward, clip, step"
    assert sequences(after)[0] == "clip, recorded, zero_grad, forward, backward, step"


def test_added_up_gradients_are_written_once() -> None:
    def body(model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        optimizer.zero_grad()
        for _ in range(4):
            loss = loss_of(model)
            loss.backward()
        optimizer.step()
        return loss

    assert sequences(body)[0] == "recorded, zero_grad, forward, backward, step"


@pytest.mark.filterwarnings("ignore:Detected call")
@pytest.mark.parametrize("first", [True, False])
def test_a_scheduler_before_or_after_the_step(first: bool) -> None:
    def body(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: StepLR) -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        if first:
            scheduler.step()
        optimizer.step()
        if not first:
            scheduler.step()
        pickle.dumps(scheduler.state_dict())
        return loss

    found = sequences(body, scheduler=lambda o: StepLR(o, 100))[0]
    if first:
        assert found == "recorded, zero_grad, forward, backward, scheduler, step"
    else:
        assert found == "scheduler, recorded, zero_grad, forward, backward, step"


@pytest.mark.parametrize("unscale_first", [True, False])
def test_clipping_before_or_after_unscaling(unscale_first: bool) -> None:
    def body(
        model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.grad_scaler.GradScaler
    ) -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model)
        scaler.scale(loss).backward()
        if unscale_first:
            scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        pickle.loads(pickle.dumps(scaler))
        return loss

    found = sequences(body, scaler=lambda o: torch.amp.grad_scaler.GradScaler("cpu", init_scale=1024.0))[0]
    middle = "unscale, clip" if unscale_first else "clip, unscale"
    assert found == f"scaler_update, recorded, zero_grad, forward, backward, {middle}, step"
