import torch
from torch import nn

import snellen


def run(quiet: bool, evaluate: bool) -> dict[tuple[str, bool], int]:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with snellen.watch(model, optimizer, trials=False) as watch:
        for _ in range(2):
            model.train()
            for _ in range(4):
                loss = model(torch.randn(8, 4)).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                watch.step(loss=loss)
            model.train(not evaluate)
            with torch.set_grad_enabled(not quiet):
                for _ in range(3):
                    model(torch.randn(8, 4))
            watch.epoch(val={"loss": 1.0})
    rows = watch.facts().forwards
    return {(row["phase"], row["training_mode"]): row["calls"] for row in rows.to_dicts()}


def test_phases_and_modes() -> None:
    assert run(quiet=True, evaluate=True) == {("training", True): 8, ("validation", False): 6}
    assert run(quiet=True, evaluate=False) == {("training", True): 8, ("validation", True): 6}
    assert run(quiet=False, evaluate=False) == {("training", True): 8, ("unused", True): 6}
