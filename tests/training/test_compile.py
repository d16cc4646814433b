"""Which passes of a network run compiled, and what becomes of one that cannot be."""

import pytest
import torch
from torch import Tensor, nn

from snellen.training.engine import compiled


def test_what_cannot_be_compiled_runs_as_it_is_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(3, 2)
    wanted = model(torch.ones(1, 3))

    def refusing(function: object) -> object:
        def call(x: Tensor) -> Tensor:
            raise RuntimeError("no compiler found\nand more")

        return call

    monkeypatch.setattr(torch, "compile", refusing)
    told: list[str] = []
    compiled(model, told.append)
    assert all(torch.equal(model(torch.ones(1, 3)), wanted) for _ in range(3))
    assert told == ["compile: the network runs uncompiled, RuntimeError: no compiler found"]


def test_evaluation_runs_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    model = nn.Linear(3, 2)
    written = model.forward
    monkeypatch.setattr(torch, "compile", lambda f: lambda x: calls.append("fast") or written(x))
    compiled(model, calls.append)
    model.eval()(torch.ones(1, 3))
    with torch.no_grad():
        model.train()(torch.ones(1, 3))
    assert calls == []
    model(torch.ones(1, 3))
    assert calls == ["fast"]
