import copy
import math
import pickle
from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import snellen
from snellen.errors import UseError
from snellen.watching.budget import Budget
from snellen.watching.observers.observer import Batch
from tests.watching.test_recorder import hooks, subject


def loop(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    watch: "snellen.Watch | None",
    steps: int = 45,
    bf16: bool = False,
) -> list[float]:
    torch.manual_seed(1)
    seen = []
    for _ in range(steps):
        x = torch.randn(16, 64)
        y = x[:, :10].argmax(1)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = model(x)
            loss = F.cross_entropy(out, y)
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
        if watch:
            watch.step(loss=loss, inputs=x, targets=y, outputs=out)
    return seen


@pytest.mark.parametrize("bf16", [False, True])
def test_a_watched_run_is_bit_for_bit_the_unwatched_one(bf16: bool) -> None:
    expected = loop(*subject(), None, bf16=bf16)
    model, optimizer = subject()
    with snellen.watch(model, optimizer, every=3) as watch:
        assert loop(model, optimizer, watch, bf16=bf16) == expected
    assert hooks(model, optimizer) == 0
    assert watch.facts().events.filter(pl.col("kind") == "observer-failed").is_empty()
    assert watch.facts().steps["loss"].to_list() == expected


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x.view(-1, 8, 8))[0][:, -1])


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x.view(-1, 8, 8)).mean(1))


@pytest.mark.parametrize("kind", [Recurrent, Attends])
def test_other_networks_are_not_changed_either(kind: type[nn.Module], tmp_path: Path) -> None:
    def made() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = kind()
        return model, torch.optim.AdamW(model.parameters(), lr=1e-3)

    expected = loop(*made(), None, steps=25)
    model, optimizer = made()
    with snellen.watch(model, optimizer, tmp_path / "run", loss_fn=F.cross_entropy) as watch:
        assert loop(model, optimizer, watch, steps=25) == expected


def gan(watched: bool) -> list[float]:
    torch.manual_seed(0)
    maker, judge = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2)), nn.Linear(8, 1)
    optimizers = [torch.optim.Adam(m.parameters(), 1e-2) for m in (judge, maker)]
    watch = snellen.watch([judge, maker], optimizers) if watched else None
    if watch:
        watch.start()
    losses = []
    for _ in range(30):
        fake = maker(torch.randn(8, 4))
        optimizers[0].zero_grad()
        first = F.softplus(-judge(torch.randn(8, 8))).mean() + F.softplus(judge(fake.detach())).mean()
        first.backward()
        optimizers[0].step()
        optimizers[1].zero_grad()
        second = F.softplus(-judge(fake)).mean()
        second.backward()
        optimizers[1].step()
        losses += [first.item(), second.item()]
        if watch:
            watch.step(loss=first + second)
    if watch:
        watch.finish()
        assert not watch.ledger.failures
    return losses


def test_several_optimizers_are_not_changed_either() -> None:
    assert gan(watched=True) == gan(watched=False)


def test_a_report_names_a_fault_and_is_silent_without_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with snellen.watch(model, optimizer) as watch:
        loop(model, optimizer, watch)
    assert not watch.report().findings
    model, _ = subject()
    stale = torch.optim.SGD(subject()[0].parameters(), lr=0.1)
    with snellen.watch(model, stale) as watch:
        loop(model, stale, watch)
    assert watch.report().findings[0].severity == "error"


class Fails:
    def __init__(self, context: object) -> None:
        pass

    def attach(self, model: nn.Module, optimizers: object) -> None:
        pass

    def batch(self, batch: Batch) -> None:
        raise RuntimeError("broken here")

    def detach(self) -> None:
        pass

    def facts(self) -> dict[str, object]:
        return {}


def test_an_observer_that_raises_becomes_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snellen.watching.watch.ALL", (Fails,))
    model, optimizer = subject()
    with snellen.watch(model, optimizer) as watch:
        loop(model, optimizer, watch, 3)
    event = watch.facts().events.filter(pl.col("kind") == "observer-failed").row(0, named=True)
    assert event["message"] == "Fails: RuntimeError: broken here"


def test_two_models_and_two_optimizers() -> None:
    torch.manual_seed(0)
    maker, judge = nn.Linear(4, 8), nn.Linear(8, 1)
    optimizers = [torch.optim.Adam(judge.parameters(), 1e-3), torch.optim.Adam(maker.parameters(), 1e-3)]
    with snellen.watch({"maker": maker, "judge": judge}, optimizers) as watch:
        for _ in range(30):
            fake = maker(torch.randn(8, 4))
            optimizers[0].zero_grad()
            judge_loss = F.softplus(-judge(torch.randn(8, 8))).mean() + F.softplus(judge(fake.detach())).mean()
            judge_loss.backward()
            optimizers[0].step()
            optimizers[1].zero_grad()
            loss = F.softplus(-judge(fake)).mean()
            loss.backward()
            optimizers[1].step()
            watch.step(loss=loss)
    facts = watch.facts()
    assert {"maker.weight", "judge.bias"} <= set(facts.signals["layer"])
    assert facts.missing_from_optimizer == facts.without_gradient == []
    assert not facts.steps["grads_before_backward"].any()
    assert facts.trainable_params == facts.optimizer_params == 49


def test_a_copy_of_a_watched_model_is_not_watched() -> None:
    model, optimizer = subject()
    with snellen.watch(model, optimizer) as watch:
        loop(model, optimizer, watch, 4)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            other.eval()(torch.randn(4, 64))
        loop(model, optimizer, watch, 4)
    assert watch.facts().steps["training_mode"].all()


def test_epochs_take_losses_and_a_metric() -> None:
    model, optimizer = subject()
    means = []
    with snellen.watch(model, optimizer) as watch:
        for _ in range(2):
            means.append(sum(loop(model, optimizer, watch, 4)) / 4)
            watch.epoch(train={"accuracy": 0.5}, val={"loss": torch.tensor(2.5), "accuracy": 0.25})
    facts = watch.facts()
    assert facts.epochs["train_loss"].to_list() == pytest.approx(means)
    assert facts.epochs.select("val_loss", "metric", "train_metric").rows() == [(2.5, 0.25, 0.5)] * 2
    assert facts.metric_name == "accuracy"
    assert facts.steps["epoch"].to_list() == [0] * 4 + [1] * 4


def test_inputs_and_outputs_are_taken_from_the_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Batch] = []

    class Keeps(Fails):
        def batch(self, batch: Batch) -> None:
            seen.append(batch)

    monkeypatch.setattr("snellen.watching.watch.ALL", (Keeps,))
    model, optimizer = subject()
    x = torch.randn(4, 64)
    with snellen.watch(model, optimizer) as watch:
        out: Tensor = model(x)
        out.sum().backward()
        optimizer.step()
        watch.step(loss=out.sum())
        with torch.no_grad():
            model(x + 1)
    assert [b.phase for b in seen] == ["training", "validation"]
    assert seen[0].inputs is x
    assert torch.equal(seen[0].outputs, out)
    assert not seen[0].outputs.requires_grad
    assert seen[1].step == 1
    assert torch.equal(seen[1].inputs, x + 1)


def test_a_run_folder_is_read_while_the_run_goes_on(tmp_path: Path) -> None:
    model, optimizer = subject()
    folder = tmp_path / "run"
    with snellen.watch(model, optimizer, folder, every=5) as watch:
        losses = loop(model, optimizer, watch, 42)
        seen = snellen.read_run(folder).run
        assert seen is not None
        assert seen.steps["loss"].to_list() == losses[:40]
        assert not seen.finished
    ended = snellen.read_run(folder).run
    assert ended is not None
    assert ended.steps["loss"].to_list() == losses
    assert ended.finished
    assert watch.report().folder == folder
    assert (folder / "report.html").is_file()
    with pytest.raises(UseError, match="holds a run already"), snellen.watch(model, optimizer, folder):
        pass


def test_a_killed_run_is_read_as_far_as_it_came(tmp_path: Path) -> None:
    model, optimizer = subject()
    watch = snellen.watch(model, optimizer, tmp_path / "run", every=5)
    watch.start()
    losses = loop(model, optimizer, watch, 40)
    with (tmp_path / "run" / "steps.jsonl").open("a") as file:
        file.write('{"step": 40, "lo')
    seen = snellen.read_run(tmp_path / "run").run
    assert seen is not None
    assert seen.steps["loss"].to_list() == losses
    assert seen.events["kind"].to_list()[-1] == "unreadable-line"
    watch.finish()


def test_samples_are_stretched_to_keep_the_budget() -> None:
    budget = Budget(0.02, 20)
    for _ in range(30):
        budget.spend(0.0005, 0.1005, False)
    budget.spend(0.0605, 0.1605, True)
    assert (budget.every, budget.thin) == (20, False)  # little was spent so far
    for _ in range(30):
        budget.spend(0.0605, 0.1605, True)
    assert budget.every in (40, 41)  # (60.5 - 0.5 ms) / (2 % of 100 ms - 0.5 ms)
    for _ in range(30):
        budget.spend(0.0015, 0.1015, False)
    assert budget.thin


def test_thin_norms_are_near_the_exact_ones() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 1000), nn.ReLU(), nn.Linear(1000, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with snellen.watch(model, optimizer, trials=False) as watch:
        watch.recorder.save_time(20, thin=True)
        exact = []
        for _ in range(6):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(torch.randn(16, 300)), torch.randint(10, (16,)))
            loss.backward()
            exact.append(float(nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])))
            optimizer.step()
            watch.recorder.step(loss=loss)
    norms = watch.facts().steps["grad_norm"].to_list()
    assert norms[:3] == pytest.approx(exact[:3])
    assert norms == pytest.approx(exact, rel=0.05)
    assert norms != pytest.approx(exact)


def test_thin_norms_of_many_tensors_are_those_of_sixteen_scaled() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(m for _ in range(15) for m in (nn.Linear(32, 32), nn.LayerNorm(32), nn.ReLU())))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    exact = []
    with snellen.watch(model, optimizer, trials=False) as watch:
        watch.recorder.save_time(20, thin=True)
        for step in range(12):
            optimizer.zero_grad()
            loss = model(torch.randn(16, 32)).square().mean() * (30.0 if step == 8 else 1.0)
            loss.backward()
            if step == 11:
                model[0].weight.grad.fill_(math.nan)
            exact.append(float(nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])))
            optimizer.step()
            watch.recorder.step(loss=loss)
    norms = watch.facts().steps["grad_norm"].to_list()
    assert norms[:3] == pytest.approx(exact[:3])
    assert norms[:11] == pytest.approx(exact[:11], rel=0.25)
    assert norms[8] > 20 * max(norms[7], norms[9])
    assert math.isnan(norms[11])
