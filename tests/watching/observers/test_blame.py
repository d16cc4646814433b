import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import snellen
from snellen.errors import UseError


class Root(nn.Module):
    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x)


def run(
    act: Callable[[Tensor], Tensor] = torch.relu,
    loss_fn: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    tell: bool = True,
    folder: Path | None = None,
    spoil: Callable[[int, Tensor], Tensor] = lambda step, x: x,
    **options: Any,
) -> tuple[snellen.Watch, nn.Module]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), Root(act), nn.Dropout(0.3), nn.Linear(8, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    watch = snellen.watch(model, optimizer, folder, loss_fn=loss_fn if tell else None, trials=False)
    with watch:
        for step in range(12):
            x, y = spoil(step, torch.randn(16, 6)), torch.randint(4, (16,))
            out = model(x)
            loss = loss_fn(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss=loss, inputs=x, targets=y, outputs=out)
    return watch, model


def origin(watch: snellen.Watch) -> tuple[int, str, str]:
    events = {row["kind"]: row for row in watch.facts().events.to_dicts()}
    assert "observer-failed" not in events, events["observer-failed"]
    first = events["non-finite"]
    return first["step"], first["layer"], events.get("non-finite-operator", {"message": ""})["message"]


def test_a_forward_pass() -> None:
    watch, _ = run(lambda x: (x - 1e3).sqrt())
    assert origin(watch) == (0, "1", "aten.sqrt")
    step = {row["kind"]: row["message"] for row in watch.facts().events.to_dicts()}["non-finite"]
    assert step.startswith("aten.sqrt in the forward pass of 1 made NaN of finite values (-100")


def test_a_backward_pass_through_a_module() -> None:
    # The root of exactly 0 is finite, its slope is not.
    watch, _ = run(lambda x: (x - x.detach()).sqrt() + x)
    step, layer, operator = origin(watch)
    assert (step, layer) == (0, "1")
    assert operator.startswith("aten.div")


def sharp(out: Tensor, y: Tensor) -> Tensor:
    return (1 - F.one_hot(y, 4) - torch.relu(out).clamp(max=0)).log().mean()


@pytest.mark.parametrize("tell", [True, False])
def test_the_loss(tell: bool) -> None:
    watch, _ = run(loss_fn=sharp, tell=tell)
    assert origin(watch) == (0, "loss", "aten.log" if tell else "")


def test_an_input() -> None:
    watch, _ = run(spoil=lambda step, x: torch.full_like(x, math.nan) if step == 5 else x)
    assert origin(watch) == (5, "input", "")


def masked(all_of_it: bool) -> Callable[[Tensor], Tensor]:
    def act(x: Tensor) -> Tensor:
        scores = x @ x.T
        mask = torch.ones_like(scores, dtype=torch.bool).tril()
        if all_of_it:
            mask[3] = False
        return scores.masked_fill(~mask, -math.inf).softmax(-1) @ x

    return act


def test_infinity_that_is_meant_is_not_blamed() -> None:
    watch, _ = run(masked(all_of_it=True))
    step, layer, operator = origin(watch)
    assert (step, layer) == (0, "1")
    assert "softmax" in operator
    watch, _ = run(masked(all_of_it=False))
    assert "non-finite" not in watch.facts().events["kind"].to_list()


def test_a_step_late_in_the_run_is_captured_and_replayed(tmp_path: Path) -> None:
    def large(step: int, x: Tensor) -> Tensor:
        return x * 1e20 if step == 7 else x

    watch, model = run(lambda x: x.square() * 1.0, folder=tmp_path / "run", spoil=large)
    assert origin(watch)[:2] == (7, "1")
    torch.manual_seed(99)
    state, random = [p.clone() for p in model.parameters()], torch.get_rng_state()
    again = snellen.replay(tmp_path / "run", model, F.cross_entropy)
    assert (again.step, again.reproduced, again.layer) == (7, True, "1")
    assert again.operator == "aten.pow"
    assert torch.equal(torch.get_rng_state(), random)
    for kept, now in zip(state, model.parameters(), strict=True):
        assert torch.equal(kept, now) or kept.isnan().any()
    with pytest.raises(UseError, match="not the one"):
        snellen.replay(tmp_path / "run", nn.Linear(3, 3))
    with pytest.raises(UseError, match="a model of your own"):
        snellen.replay(tmp_path / "run")
    with pytest.raises(UseError, match="nothing to replay"):
        snellen.replay(tmp_path)


def test_the_captured_pass_is_the_one_that_ran(tmp_path: Path) -> None:
    """Same weights, batch and dropout: the loss of a step that is captured although it is finite comes out again."""
    from snellen.watching.captured import Captured

    seen: list[Tensor] = []

    def blow(x: Tensor) -> Tensor:
        return x

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        seen.append(out.detach().clone())
        return F.cross_entropy(out, y) * (math.nan if len(seen) == 10 else 1.0)

    _, model = run(blow, loss_fn, tell=False, folder=tmp_path / "run")
    captured = Captured.load(tmp_path / "run")
    captured.prepare(model)
    with captured.as_then():
        out = model(*captured.args)
    assert captured.step == 9
    assert torch.equal(out, seen[9])
