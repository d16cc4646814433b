import json

import polars as pl
import torch
from torch import nn

import snellen


def test_groups_and_parameters() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    model.spare = nn.Linear(2, 2)  # type: ignore[assignment]
    nn.init.constant_(model[1].weight, 0.1)
    model[0].bias.requires_grad_(False)
    other = torch.zeros(3, requires_grad=True)
    first = torch.optim.AdamW([{"params": model[0].parameters()}, {"params": [other], "lr": 0.5}], lr=0.01)
    second = torch.optim.SGD([*model[1].parameters(), *model[3].parameters(), model[0].weight], lr=torch.tensor(0.1))

    class Used(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in (model[0], model[1], model[2], model[3]):
                x = layer(x)
            return x

    with snellen.watch(Used(), [first, second], trials=False) as watch:
        for _ in range(4):
            loss = watch.model(torch.randn(8, 4)).square().mean()
            for optimizer in (first, second):
                optimizer.zero_grad()
            loss.backward()
            for optimizer in (first, second):
                optimizer.step()
            watch.step(loss=loss)
    facts = watch.facts()
    assert facts.groups.select("optimizer", "kind", "group", "parameters").rows() == [
        (0, "AdamW", 0, 40), (0, "AdamW", 1, 3), (1, "SGD", 0, 32 + 72 + 9),
    ]  # fmt: skip
    assert facts.groups["tensors"].to_list()[1] == ["?"]
    assert json.loads(facts.groups["options"][1])["lr"] == 0.5
    rows = {row["name"]: row for row in facts.parameters.to_dicts()}
    assert rows["body.0.weight"]["optimizers"] == 2
    assert rows["body.2.weight"]["optimizers"] == 0
    assert rows["body.2.weight"]["layer"] == "BatchNorm1d"
    assert (rows["body.1.weight"]["equal_rows"], rows["body.3.weight"]["equal_rows"]) == (True, None)
    assert not rows["body.0.bias"]["trainable"]
    moved = facts.parameters.filter(pl.col("moved"))["name"].to_list()
    assert moved == ["body.0.weight", "body.1.weight", "body.1.bias", "body.3.weight", "body.3.bias"]
    assert facts.parameters.filter(~pl.col("called"))["name"].to_list() == ["body.spare.weight", "body.spare.bias"]
