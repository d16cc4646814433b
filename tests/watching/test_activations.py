"""What is seen of the layers in a forward pass, and that seeing changes nothing."""

import math
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import snellen
from snellen.watching.facts import RunFacts
from snellen.watching.observers.modules import follows_default
from snellen.watching.observers.tokens import padding_of, shifted


class Attention(nn.Module):
    """One head over (N, T, 16), by the fused function or written out."""

    def __init__(self, fused: bool, causal: bool, scale: float) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(16, 48), nn.Linear(16, 3)
        self.fused, self.causal, self.scale = fused, causal, scale

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, scale=self.scale)
        else:
            scores = (q * self.scale) @ k.transpose(-2, -1)
            if self.causal:
                scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -math.inf)
            y = scores.softmax(-1) @ v
        return self.head(y.mean(1))


def trained(model: nn.Module, x: Tensor, y: Tensor, *, watched: bool, steps: int = 6) -> tuple[list[float], Any]:
    """Losses of a short training from the weights as they are, and the watch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = snellen.watch(model, optimizer, trials=False)
    if watched:
        watch.start()
    torch.manual_seed(3)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = F.cross_entropy(model(x), y)
        value.backward()
        optimizer.step()
        losses.append(value.item())
        if watched:
            watch.step(loss=value, inputs=x, targets=y)
    watch.finish()
    return losses, watch


def start(facts: RunFacts, signal: str) -> dict[str, float]:
    """Layer -> value at step 0."""
    rows = facts.signals.filter((pl.col("signal") == signal) & (pl.col("step") == 0))
    return dict(rows.select("layer", "value").iter_rows())


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_seen_fused_and_written_out(fused: bool, causal: bool) -> None:
    torch.manual_seed(0)
    model, x, y = Attention(fused, causal, 0.25), torch.randn(8, 6, 16), torch.randint(3, (8,))
    _, watch = trained(model, x, y, watched=True)
    facts = watch.facts()
    assert start(facts, "score_scale")[""] == pytest.approx(1.0)
    assert 0.8 < start(facts, "attention_entropy")[""] <= 1.0
    mass = start(facts, "future_mass")[""]
    assert mass == 0 if causal else 0.2 < mass < 0.6
    with torch.no_grad():
        model.scale = 1.0
    _, watch = trained(model, x, y, watched=True)
    assert start(watch.facts(), "score_scale")[""] == pytest.approx(4.0)


def test_a_watched_run_is_bit_for_bit_that_of_an_unwatched_one() -> None:
    def make() -> nn.Module:
        torch.manual_seed(1)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.2, batch_first=True)
        return nn.Sequential(nn.Linear(16, 16), nn.TransformerEncoder(layer, 2), nn.Flatten(), nn.Linear(96, 3))

    torch.manual_seed(0)
    x, y = torch.randn(8, 6, 16), torch.randint(3, (8,))
    plain, _ = trained(make(), x, y, watched=False)
    seen, watch = trained(make(), x, y, watched=True)
    assert plain == seen
    assert not [r for r in watch.facts().events.to_dicts() if r["kind"] == "observer-failed"]


def test_hooks_of_inner_modules_are_gone_after_the_pass() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(8, 4)

    def hooks() -> list[int]:
        return [len(part._forward_pre_hooks) + len(part._forward_hooks) for part in model.children()]

    with snellen.watch(model, optimizer, trials=False) as watch:
        kept = hooks()
        F.cross_entropy(model(x), torch.zeros(8, dtype=torch.long)).backward()
        watch.step(loss=1.0, inputs=x)
        assert all(now <= before for now, before in zip(hooks(), kept, strict=True))
        with pytest.raises(RuntimeError):
            model(torch.randn(8, 5))
        assert all(now <= before for now, before in zip(hooks(), kept, strict=True))
    assert hooks() == [0, 0, 0]


def test_modules_tell_shapes_calls_and_shared_names() -> None:
    torch.manual_seed(0)
    shared = nn.Linear(16, 16)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.ReLU(), shared, nn.ReLU(), shared, nn.Linear(16, 3))
    _, watch = trained(model, torch.randn(8, 16), torch.randint(3, (8,)), watched=True)
    rows = {r["name"]: r for r in watch.facts().modules.to_dicts()}
    assert rows["3"]["same_as"] == ["5"]
    assert (rows["3"]["calls"], rows["3"]["chained"]) == (2, True)
    assert rows["6"]["output_shape"] == [8, 3]
    assert rows["1"]["default_start"] is True
    assert 0.1 < start(watch.facts(), "spread")["1"] <= 1.0


def test_dead_units_and_steps_of_functions_are_seen() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(16, 16), nn.Linear(16, 3)
            nn.init.constant_(self.first.bias, -50.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.last((self.first(x).relu() * 4).round() / 4)

    _, watch = trained(Net(), torch.randn(8, 16), torch.randint(3, (8,)), watched=True)
    facts = watch.facts()
    assert start(facts, "zero_fraction")[":relu"] == 1.0
    assert start(facts, "dead_units")[":relu"] == 1.0
    assert ":aten.round" in facts.modules["name"].to_list()


def test_padding_and_shifted_targets() -> None:
    ids = torch.tensor([[3, 4, 5, 0, 0, 0], [6, 7, 8, 9, 0, 0], [3, 5, 6, 7, 8, 4], [5, 0, 0, 0, 0, 0]])
    found = padding_of(ids, None)
    assert found is not None
    assert torch.equal(found, ids == 0)
    assert padding_of(torch.randint(1, 9, (8, 12), generator=torch.Generator().manual_seed(0)), None) is None
    share = shifted(ids, torch.cat([ids[:, 1:], ids[:, :1]], 1))
    assert share is not None
    assert float(share) == 1.0
    assert shifted(ids, torch.zeros(4, dtype=torch.long)) is None


def test_the_default_start_is_told_from_others() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 16, 3)
    assert follows_default(layer) is True
    nn.init.kaiming_normal_(layer.weight)
    assert follows_default(layer) is False
    assert follows_default(nn.Linear(2, 2)) is None
    assert follows_default(nn.ReLU()) is None


@pytest.mark.parametrize(
    ("momentum", "begun", "left"), [(0.001, False, 0.999**110), (0.001, True, None), (0.1, False, None)]
)
def test_running_statistics_that_have_hardly_begun_to_move_are_told(
    momentum: float, begun: bool, left: float | None
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, momentum=momentum), nn.Linear(8, 3))
    if begun:
        nn.init.constant_(model[1].running_mean, 0.2)
    _, watch = trained(model, torch.randn(16, 4), torch.randint(3, (16,)), watched=True, steps=110)
    found = watch.facts().events.filter(pl.col("kind") == "running-statistics-slow")
    assert found["value"].to_list() == ([] if left is None else [pytest.approx(left)])


def test_a_norm_whose_size_is_not_known_yet_is_watched() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.LazyBatchNorm1d(), nn.Linear(8, 3))
    watch = snellen.watch(model, torch.optim.SGD(model[0].parameters(), lr=0.1), trials=False)
    watch.start()
    for _ in range(3):
        x, y = torch.randn(16, 4), torch.randint(3, (16,))
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        watch.step(loss=loss, inputs=x, targets=y)
    watch.finish()
    assert watch.ledger.failures == {}
