from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from snellen.watching import Recorder
from snellen.watching.facts import RunFacts


def subject() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.2),
        nn.Flatten(), nn.Linear(288, 10),
    )  # fmt: skip
    return model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)


def loop(model: nn.Module, optimizer: torch.optim.Optimizer, recorder: Recorder | None, steps: int = 45) -> list[float]:
    torch.manual_seed(1)
    seen = []
    for _ in range(steps):
        x, y = torch.randn(16, 64), torch.randint(10, (16,))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
        if recorder:
            recorder.step(loss=loss.item())
    return seen


def hooks(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    modules = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    tensors = sum(len(p._backward_hooks or ()) for p in model.parameters())
    return modules + tensors + len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)


def test_a_watched_run_is_bit_for_bit_the_unwatched_one() -> None:
    plain_model, plain = subject()
    expected = loop(plain_model, plain, None)
    model, optimizer = subject()
    with Recorder(model, optimizer, every=3) as recorder:
        assert loop(model, optimizer, recorder) == expected
    for a, b in zip(model.state_dict().values(), plain_model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_plain_loop_is_recorded_and_no_hook_is_left() -> None:
    model, optimizer = subject()
    with Recorder(model, optimizer, every=10) as recorder:
        losses = loop(model, optimizer, recorder)
        assert hooks(model, optimizer) > 0
    assert hooks(model, optimizer) == 0
    facts = recorder.facts()
    assert facts.steps["loss"].to_list() == losses
    assert facts.steps["lr"].to_list() == [0.05] * 45
    assert facts.steps["grad_norm"].null_count() == 0
    assert facts.steps["training_mode"].all()
    assert not facts.steps["grads_before_backward"].any()
    assert facts.steps.filter(pl.col("update_ratio").is_not_null())["step"].to_list() == [0, 1, 2, 10, 20, 30, 40]
    assert {"grad_norm", "update_ratio", "weight_norm", "zero_fraction", "output_std"} == set(facts.signals["signal"])
    assert facts.optimizer == "SGD"
    assert facts.options["weight_decay"] == 1e-4
    assert facts.trainable_params == facts.optimizer_params == sum(p.numel() for p in model.parameters())
    assert facts.missing_from_optimizer == facts.without_gradient == []
    assert len(facts.output_range) == 3


def test_hooks_go_when_the_loop_raises_and_the_reason_is_kept() -> None:
    model, optimizer = subject()
    recorder = Recorder(model, optimizer)

    def interrupted() -> None:
        with recorder:
            loop(model, optimizer, recorder, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert hooks(model, optimizer) == 0
    assert recorder.facts().stop_reason == "stopped by KeyboardInterrupt"
    assert not recorder.facts().finished


def test_state_round_trip(tmp_path: Path) -> None:
    model, optimizer = subject()
    with Recorder(model, optimizer) as recorder:
        loop(model, optimizer, recorder, 5)
        recorder.epoch(epoch=0, train_loss=2.0, val_loss=2.1, metric=0.3)
    torch.save(recorder.state_dict(), tmp_path / "state.pt")
    again = Recorder(model, optimizer)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    with again:
        loop(model, optimizer, again, 3)
    facts = again.facts()
    assert facts.steps["step"].to_list() == list(range(8))
    assert facts.steps["loss"][:5].to_list() == recorder.facts().steps["loss"].to_list()
    assert facts.epochs.equals(recorder.facts().epochs)


def test_facts_are_saved_after_each_epoch(tmp_path: Path) -> None:
    model, optimizer = subject()
    with Recorder(model, optimizer, folder=tmp_path) as recorder:
        recorder.start(task="classification", num_classes=10, loss_kind="cross-entropy", initial_loss_expected=2.3)
        loop(model, optimizer, recorder, 4)
        recorder.epoch(epoch=0, train_loss=2.0)
        assert RunFacts.load(tmp_path / "signals").steps.height == 4
    assert RunFacts.load(tmp_path / "signals").finished


class Breaks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - 1e9).sqrt()


def test_the_first_layer_that_is_not_finite_is_named() -> None:
    model = nn.Sequential(nn.Linear(64, 8), Breaks(), nn.Linear(8, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(model, optimizer) as recorder:
        loop(model, optimizer, recorder, 3)
    event = recorder.facts().events.filter(pl.col("kind") == "non-finite").row(0, named=True)
    assert (event["step"], event["layer"]) == (0, "1")


def test_a_non_finite_input_is_not_blamed_on_a_layer() -> None:
    model, optimizer = subject()
    with Recorder(model, optimizer) as recorder:
        loop(model, optimizer, recorder, 7)
        loss = F.cross_entropy(model(torch.full((4, 64), torch.nan)), torch.zeros(4, dtype=torch.long))
        loss.backward()
        optimizer.step()
        recorder.step(loss=loss.item())
    event = recorder.facts().events.filter(pl.col("kind") == "non-finite").row(0, named=True)
    assert (event["step"], event["layer"]) == (7, "input")


def test_a_forward_that_raises_leaves_no_hook_on_the_layers() -> None:
    model, optimizer = subject()
    with Recorder(model, optimizer), pytest.raises(RuntimeError):
        model(torch.zeros(2, 63))
    assert hooks(model, optimizer) == 0


def test_class_ids_tell_how_pure_the_batches_are() -> None:
    model, optimizer = subject()
    with Recorder(model, optimizer) as recorder:
        for ids in ([0, 0, 0, 0], [1, 1, 2, 2]):
            model(torch.randn(4, 64)).sum().backward()
            optimizer.step()
            recorder.step(loss=1.0, labels=torch.tensor(ids))
        recorder.step(loss=1.0)
    facts = recorder.facts()
    assert facts.steps["same_class"].to_list() == [1.0, pytest.approx(2 / 6), None]
    assert facts.same_class == pytest.approx((6 + 1 + 1) / 28)
    other = Recorder(model, optimizer)
    other.load_state_dict(recorder.state_dict())
    assert other.facts().same_class == facts.same_class


def test_labels_that_are_no_class_ids_are_refused() -> None:
    recorder = Recorder(*subject())
    for labels in (torch.rand(4), torch.zeros(4, 2, dtype=torch.long)):
        with pytest.raises(ValueError, match="one integer per image"):
            recorder.step(loss=1.0, labels=labels)


@pytest.mark.parametrize("broadcast", [True, False])
def test_a_gradient_that_ignores_its_own_target_is_told_from_one_that_does_not(broadcast: bool) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    means = []
    with Recorder(model, optimizer) as recorder:
        for _ in range(3):
            x, y = torch.randn(64, 3), torch.randn(64)
            means.append(float(y.mean()))
            optimizer.zero_grad()
            loss = (model(x) - (y if broadcast else y[:, None])).square().mean()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.item())
    signals = recorder.facts().signals.filter(pl.col("layer") == "output")
    own = signals.filter(pl.col("signal") == "target_dependence")["value"].to_list()
    seen = signals.filter(pl.col("signal") == "target_seen")["value"].to_list()
    if broadcast:
        assert max(own) < 1e-5
        assert seen == pytest.approx(means, abs=1e-4)
    else:
        assert min(own) > 0.1


def test_every_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Recorder(*subject(), every=0)
