"""Whatever an experiment does is undone bit for bit."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snellen.experiments.snapshot import copy_without_hooks, generators_kept, restored


class Counting(nn.Module):
    """Keeps numbers, lists and tensors on itself, as memories and caches do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.drop = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.calls, self.seen = 0, [1]
        self.register_buffer("memory", torch.full((2,), float("nan")))
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(self.calls)
        self.memory[0] = self.calls
        self.extra = x.sum()
        self.state = self.drop(self.norm(self.layer(x)))
        return self.state


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Any]:
    tensors = {**model.state_dict(), **{f"grad {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}}
    return [
        {k: v.detach().clone().numpy().tobytes() for k, v in tensors.items()},
        [(n, m.training) for n, m in model.named_modules()],
        [(n, p.requires_grad, p.grad is None) for n, p in model.named_parameters()],
        {str(i): {k: torch.as_tensor(v).clone() for k, v in s.items()} for i, s in enumerate(optimizer.state.values())},
        [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups],
        torch.get_rng_state(), random.getstate(), np.random.get_state()[1],
    ]  # fmt: skip


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return bool((a == b).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def wreck(model: Counting, optimizer: torch.optim.Optimizer) -> None:
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().sum().backward()
        optimizer.param_groups[0]["lr"] *= 3
        optimizer.param_groups[0]["odd"] = 1
        optimizer.step()
    model.layer.weight.requires_grad_(False)
    model.eval()
    model.register_buffer("memory", torch.ones(7))
    random.random(), np.random.rand()


@pytest.mark.parametrize("steps_before", [0, 2])
def test_everything_is_put_back(steps_before: int) -> None:
    torch.manual_seed(0)
    model = Counting()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model.drop.eval()
    for _ in range(steps_before):
        model(torch.randn(8, 4)).sum().backward()
        optimizer.step()
    objects = [id(p) for p in model.parameters()], [id(p.grad) for p in model.parameters()], id(model.memory)
    before, counts = state_of(model, optimizer), (model.calls, list(model.seen), model.state)
    with restored(model, optimizer):
        wreck(model, optimizer)
        assert not same(before, state_of(model, optimizer))
    assert same(before, state_of(model, optimizer))
    assert (model.calls, model.seen) == counts[:2]
    assert model.state is counts[2]
    assert steps_before or not hasattr(model, "extra")
    assert objects == (
        [id(p) for p in model.parameters()], [id(p.grad) for p in model.parameters()], id(model.memory)
    )  # fmt: skip


def test_an_error_is_undone_too() -> None:
    model = Counting()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    before = state_of(model, optimizer)

    def fail() -> None:
        with restored(model, optimizer):
            wreck(model, optimizer)
            model(torch.randn(8, 5))

    with pytest.raises(RuntimeError, match="shapes"):
        fail()
    assert same(before, state_of(model, optimizer))


def test_shared_and_cut_tensors_come_back() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model.register_buffer("part", model[0].bias.detach()[:2])
    before = model[0].weight.detach().clone()
    with restored(model), torch.no_grad():
        model[0].weight.mul_(2)
    assert model[1].weight is model[0].weight
    assert torch.equal(model[0].weight, before)


def test_lazy_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="lazy"), restored(nn.LazyLinear(3)):
        pass


def test_generators_are_kept() -> None:
    torch.manual_seed(3)
    first = torch.rand(2)
    torch.manual_seed(3)
    with generators_kept():
        torch.rand(5), random.random(), np.random.rand()
    assert torch.equal(torch.rand(2), first)


def test_a_copy_lacks_our_hooks_and_keeps_the_others() -> None:
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    model.kept = model(torch.ones(1, 3))
    copied = copy_without_hooks(model, __name__)
    calls.clear()
    copied(torch.ones(1, 3))
    assert not calls
    model(torch.ones(1, 3))
    assert calls
    assert copied.kept.grad_fn is None
    assert model.kept.grad_fn is not None
