"""`preflight`: what it says of sound and unsound programs, and that nothing is left changed by it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset

import snellen
from snellen.data.digits import Digits
from snellen.findings.settings import LoadedSettings
from snellen.verbs.preflight import preflight_data
from snellen.verbs.train import train


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def net(*, dropout: bool = True) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2 if dropout else 0.0), nn.Linear(32, 3)
    )


def batch(count: int = 32) -> tuple[Tensor, Tensor]:
    x = torch.randn(count, 6)
    return x, (x.sum(1) > 0).long() + (x[:, 0] > 1).long()


def values(result: snellen.Result) -> dict[str, Any]:
    assert result.run is not None
    return {r["trial"]: r["value"] for r in result.run.trials.to_dicts()}


def test_a_sound_program_is_called_sound(plain: LoadedSettings) -> None:
    model = net()
    result = snellen.preflight(model, batch(), F.cross_entropy, torch.optim.Adam(model.parameters()), settings=plain)
    assert [(f.rule, f.message) for f in result.findings] == []
    found = values(result)
    assert found["optimizer-coverage"] == 1
    assert found["overfit-score"] > 0.9
    assert found["lr-suggestion"] > 1e-4
    assert found["memory"] > 0
    assert result.run is not None
    assert result.run.parameters["called"].all()
    assert result.run.initial_loss_expected == pytest.approx(1.0986, abs=1e-3)


def test_nothing_is_left_changed() -> None:
    model = net()
    model.eval()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model(batch()[0]).sum().backward()
    optimizer.step()
    data = batch()

    def state() -> list[Any]:
        grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        moments = [v.clone() for s in optimizer.state.values() for v in s.values()]
        return [*(v.clone() for v in model.state_dict().values()), *grads, *moments, torch.get_rng_state(), *data]

    before, modes = state(), [m.training for m in model.modules()]
    snellen.preflight(model, data, F.cross_entropy, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(before, state(), strict=True))
    assert modes == [m.training for m in model.modules()]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_loader_is_taken_too_and_no_random_number_drawn() -> None:
    loader = DataLoader(TensorDataset(*batch(64)), batch_size=16, shuffle=True)
    before = torch.get_rng_state()
    model = net()
    torch.set_rng_state(before)
    result = snellen.preflight(model, loader, F.cross_entropy, torch.optim.SGD(model.parameters(), lr=0.1))
    assert torch.equal(before, torch.get_rng_state())
    assert values(result)["initial-loss"] > 0


def test_parameters_that_no_gradient_reaches_are_named() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.stem(x)).detach())

    model = Cut()
    result = snellen.preflight(model, batch(), F.cross_entropy, torch.optim.SGD(model.head.parameters(), lr=0.1))
    rules = {f.rule for f in result.findings}
    assert {"layer-without-gradient", "parameters-missing-from-optimizer"} & rules


@pytest.mark.parametrize(
    ("model", "data", "loss", "said"),
    [
        (nn.LazyLinear(3), batch(), F.cross_entropy, "lazy"),
        (nn.Linear(5, 3), batch(), F.cross_entropy, "refuses"),
        (nn.Linear(6, 3), batch(), lambda out, y: 1 / 0, "division by zero"),
        (nn.Linear(6, 3), [], F.cross_entropy, "expected (inputs, targets)"),
        (nn.Linear(6, 3), iter([]), F.cross_entropy, "empty"),
        (nn.Linear(6, 3), "text", F.cross_entropy, "expected (inputs, targets)"),
    ],
)
def test_what_cannot_be_run_is_said_and_never_raised(model: Any, data: Any, loss: Any, said: str) -> None:
    result = snellen.preflight(model, data, loss)
    assert result.run is not None
    refused = result.run.events.filter(result.run.events["kind"] == "preflight-refused")
    assert said in refused["message"][0]


class Ours(nn.Module):
    """Takes keywords and returns its loss, as models of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.layer(pixel_values)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits} if labels is not None else {"logits": logits}


def test_a_model_with_its_own_loss_needs_no_loss_function() -> None:
    x, y = batch()
    assert values(snellen.preflight(Ours(), {"pixel_values": x, "labels": y}))["initial-loss"] > 0


def test_boxes_are_drawn_on_what_the_network_gets(digits: Digits, plain: LoadedSettings, tmp_path: Path) -> None:
    result = preflight_data(digits.detection, settings=plain, seconds=8)
    assert [(f.rule, f.message) for f in result.findings] == []
    assert len(result.pictures) == 4
    assert all(png.startswith(b"\x89PNG") for png in result.pictures.values())
    assert "boxes" in next(iter(result.pictures))
    page = result.to_html(tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= 4
    assert "Preflight" in page


def test_a_training_is_bit_identical_with_and_without(digits: Digits, plain: LoadedSettings, tmp_path: Path) -> None:
    losses = []
    for preflight in (True, False):
        out = tmp_path / str(preflight)
        result = train(digits.classification, out=out, settings=plain, preflight=preflight, epochs=1)
        lines = (out / "steps.jsonl").read_text(encoding="utf-8").splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
        assert result.run is not None
        assert bool(result.run.trials.filter(result.run.trials["trial"] == "initial-loss").height) is preflight
    assert losses[0] == losses[1]
