import gc
import weakref

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import snellen
from snellen.watching.bystanders import END, FIRST_STEP, START, Bystanders


def watched() -> list["weakref.ref[object]"]:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    with snellen.watch(model, optimizer, loss_fn=F.cross_entropy) as watch:
        for _ in range(3):
            x = torch.randn(16, 8)
            y = x[:, :3].argmax(1)
            optimizer.zero_grad()
            out = model(x)
            loss = F.cross_entropy(out, y)
            loss.backward()
            optimizer.step()
            watch.step(loss=loss, inputs=x, targets=y, outputs=out)
    watch.facts()
    return [weakref.ref(model), weakref.ref(optimizer)]


def test_a_finished_watch_holds_neither_model_nor_optimizer() -> None:
    gc.collect()
    gc.disable()
    try:
        assert [known() for known in watched()] == [None, None]
    finally:
        gc.enable()


def test_a_model_whose_outputs_are_single_numbers() -> None:
    class Losses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.loss = nn.Linear(8, 1), nn.MSELoss()

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"total": self.loss(self.layer(x), x[:, :1])}

    model = Losses()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with snellen.watch(model, optimizer) as watch:
        for _ in range(3):
            optimizer.zero_grad()
            x = torch.randn(16, 8)
            loss = model(x)["total"]
            loss.backward()
            optimizer.step()
            watch.step(loss=loss, inputs=x)
    assert not watch.ledger.failures


def test_one_look_a_moment_finds_what_was_made_before_it() -> None:
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1)
    kind = torch.optim.lr_scheduler.StepLR
    first = kind(optimizer, 3)
    bystanders = Bystanders()
    assert first in bystanders.alive(kind, START)
    second = kind(optimizer, 3)
    assert second not in bystanders.alive(kind, START)
    assert {first, second} <= set(bystanders.alive(kind, FIRST_STEP))
    del second
    assert first in bystanders.alive(kind, END)
