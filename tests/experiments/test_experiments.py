"""Each experiment measures what it says, on networks where the answer is known."""

import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from snellen.experiments import consistency, dependence, fitting, linearity, losses, rates, reach, sequences
from snellen.experiments.nest import chosen, one_a_sample, samples
from snellen.experiments.run import everything
from snellen.experiments.subject import Clock, Row, Subject, subject_of


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def net(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


def by_name(rows: Iterable[Row]) -> dict[str, Row]:
    return {r["trial"]: r for r in rows}


def plain(model: nn.Module, x: Tensor | None = None, y: Any = None, loss: Any = F.cross_entropy) -> Subject:
    x = torch.randn(8, 6) if x is None else x
    y = torch.arange(len(x)) % 3 if y is None else y
    return subject_of(model, (x, y), loss, torch.optim.SGD(model.parameters(), lr=0.1))


def mlp() -> nn.Sequential:
    return net(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


# Nests


def test_batches_of_every_shape_are_counted_and_cut() -> None:
    pair = {"ids": torch.zeros(4, 2), "mask": torch.ones(4, 2)}
    pictures = [torch.zeros(3, 8, 8), torch.zeros(3, 9, 7), torch.zeros(3, 8, 8)]
    assert (samples(pair), samples(pictures), samples((torch.zeros(4, 2), torch.zeros(2, 9)))) == (4, 3, None)
    assert one_a_sample([{"boxes": torch.zeros(0, 4)}])
    assert not one_a_sample([torch.zeros(4, 2), torch.zeros(4)])
    assert chosen(pair, [1, 1, 3])["ids"].shape == (3, 2)
    assert [tuple(t.shape) for t in chosen(pictures, [1])] == [(3, 9, 7)]


# Linearity


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_linear_chain_has_no_bend_and_its_depth(depth: int) -> None:
    model = net(*(nn.Linear(6, 6) for _ in range(depth)), nn.BatchNorm1d(6))
    rows = by_name(linearity.midpoint(plain(model)))
    assert rows["midpoint"]["value"] < 1e-6
    assert rows["linear-depth"]["value"] == pytest.approx(depth, abs=0.01)


@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh, nn.GELU, lambda: nn.LeakyReLU(0.5)])
def test_an_activation_bends(act: Any) -> None:
    rows = by_name(linearity.midpoint(plain(net(nn.Linear(6, 16), act(), nn.Linear(16, 3)))))
    assert rows["midpoint"]["value"] > 1e-3
    assert "linear-depth" not in rows


def test_token_ids_have_no_midpoint() -> None:
    rows = by_name(linearity.midpoint(plain(nn.Embedding(9, 4), torch.randint(9, (4, 5)))))
    assert rows["midpoint"]["value"] is None


# Dependence


class Viewed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[1], x.shape[0]).t()


class SetNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


def share(model: nn.Module, x: Tensor | None = None, y: Any = None) -> tuple[float | None, float | None]:
    rows = by_name(dependence.cross_sample(plain(model, x, y)))
    return rows["cross-sample"]["value"], rows.get("cross-sample-order", {}).get("value")


@pytest.mark.parametrize(
    "model",
    [
        mlp(),
        net(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)),
        net(nn.Unflatten(1, (2, 3)), nn.GroupNorm(2, 2), nn.InstanceNorm1d(2), nn.Flatten(), nn.Linear(6, 3)),
        net(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.LayerNorm(8), nn.Linear(8, 3)),
        net(nn.ReLU(inplace=True), nn.Linear(6, 3)),
    ],
)
def test_networks_of_single_samples_share_nothing(model: nn.Module) -> None:
    rows = by_name(dependence.cross_sample(plain(model)))
    assert rows["cross-sample"]["value"] == 0
    assert rows.get("cross-sample-training", {"value": 0})["value"] == 0


def test_mixed_axes_and_norms_over_the_batch_are_told_apart() -> None:
    value, order = share(net(nn.Linear(6, 6), Viewed(), nn.Linear(6, 3)))
    assert value is not None
    assert value > 0.3
    assert order == 1
    value, order = share(net(nn.Linear(6, 6), SetNorm(), nn.Linear(6, 3)))
    assert value is not None
    assert value > 0.1
    assert order == 0
    rnn = nn.GRU(6, 3)  # batch_first forgotten

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = rnn

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0][:, -1]

    value, order = share(Last(), torch.randn(8, 5, 6))
    assert value is not None
    assert value > 0.1
    assert order == 1


def test_a_network_over_one_graph_is_not_judged() -> None:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("links", torch.rand(8, 8).softmax(1))
            self.layer = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.links @ self.layer(x)

    rows = by_name(dependence.cross_sample(plain(Graph())))
    assert rows["cross-sample"]["value"] is None
    assert "number of samples" in rows["cross-sample"]["detail"]


@pytest.mark.parametrize("ids", [True, False])
def test_a_network_that_draws_at_every_pass_mixes_no_samples(ids: bool) -> None:
    class Drawn(nn.Module):
        """Adds what it learned of a node drawn anew, as networks over sampled neighbours do."""

        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(50, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            own = self.table(x) if ids else x
            return self.head(own + self.table(torch.randint(50, (len(x),))))

    x = torch.arange(8) if ids else torch.randn(8, 6)
    rows = by_name(dependence.cross_sample(plain(Drawn(), x)))
    assert rows["cross-sample"]["value"] == (None if ids else 0)
    assert "cross-sample-order" not in rows


def test_time_first_is_not_judged() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0]

    subject = plain(Tagger(), torch.randn(7, 4, 6), torch.randint(3, (7, 4)))
    assert by_name(dependence.cross_sample(subject))["cross-sample"]["value"] is None


def test_a_constant_network_does_not_move() -> None:
    model = mlp()
    nn.init.zeros_(model[2].weight)
    rows = by_name(dependence.input_dependence(plain(model)))
    assert all(rows[n]["value"] == 0 for n in ("sample-spread", "zeroed-input", "constant-input", "permuted-input"))
    assert rows["input-spread"]["value"] > 0.5
    assert by_name(dependence.input_dependence(plain(mlp())))["sample-spread"]["value"] > 0.1


# Modes


class AlwaysDrops(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x)


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


def test_evaluation_is_repeated() -> None:
    row = by_name(consistency.repeated_evaluation(plain(net(nn.Linear(6, 8), AlwaysDrops(), nn.Linear(8, 3)))))
    row = row["evaluation-repeated"]
    assert row["value"] > 0.01
    assert row["layer"] == "1"
    assert row["detail"].startswith(("bernoulli", "native_dropout"))
    row = by_name(consistency.repeated_evaluation(plain(net(nn.Linear(6, 8), Noisy()))))["evaluation-repeated"]
    assert row["value"] > 0.01
    assert not row["detail"].startswith(("bernoulli", "native_dropout"))
    quiet = plain(net(nn.Linear(6, 8), nn.Dropout(0.9), nn.BatchNorm1d(8)))
    assert by_name(consistency.repeated_evaluation(quiet))["evaluation-repeated"]["value"] == 0


def test_modes_are_compared_and_statistics_measured() -> None:
    model = net(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    model[1].running_mean.fill_(30.0)
    subject = plain(model)
    rows = list(consistency.train_against_eval(subject))
    modes = {r["setting"]: r["value"] for r in rows if r["trial"] == "mode-loss"}
    assert modes[0.0] != pytest.approx(modes[1.0], rel=0.01)
    drift = by_name(rows)["running-statistics"]
    assert drift["layer"] == "1"
    assert drift["value"] > 10
    assert drift["setting"] == 0.1
    assert torch.equal(model[1].running_mean, torch.full((8,), 30.0))


# Losses


def test_what_a_blind_guess_costs() -> None:
    row = by_name(losses.initial_loss(plain(mlp())))["initial-loss"]
    assert (row["expected"], row["detail"]) == (pytest.approx(math.log(3)), "cross-entropy")
    values = plain(net(nn.Linear(6, 1)), y=torch.full((8, 1), 4.0), loss=F.mse_loss)
    assert by_name(losses.initial_loss(values))["initial-loss"]["expected"] == pytest.approx(16)
    bits = plain(net(nn.Linear(6, 1)), y=torch.ones(8, 1), loss=F.binary_cross_entropy_with_logits)
    assert by_name(losses.initial_loss(bits))["initial-loss"]["expected"] == pytest.approx(math.log(2))
    smooth = plain(mlp(), loss=lambda a, b: F.cross_entropy(a, b, label_smoothing=0.1))
    assert by_name(losses.initial_loss(smooth))["initial-loss"]["detail"] == "softmax of classes"


def test_sums_and_means_are_told_apart() -> None:
    mean, total = (
        by_name(losses.batch_size(plain(mlp(), loss=nn.CrossEntropyLoss(reduction=r)))) for r in ("mean", "sum")
    )
    assert mean["doubled-batch"]["value"] == pytest.approx(1)
    assert total["doubled-batch"]["value"] == pytest.approx(2)
    assert mean["batch-loss"]["value"] == pytest.approx(mean["batch-loss"]["expected"])
    assert total["batch-loss"]["value"] == pytest.approx(8 * total["batch-loss"]["expected"])


# Sequences


class Tokens(nn.Module):
    def __init__(
        self, *, positions: bool = True, causal: bool = False, mask: bool = False, pooled: bool = False
    ) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(12, 16), nn.Embedding(10, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 12)
        self.positions, self.causal, self.mask, self.pooled = positions, causal, mask, pooled

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        if self.positions:
            x = x + self.places(torch.arange(ids.shape[1]))
        future = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).triu(1) if self.causal else None
        x = self.head(self.layer(x, src_mask=future, src_key_padding_mask=ids == 0 if self.mask else None))
        if not self.pooled:
            return x
        real = (ids != 0)[..., None] if self.mask else torch.ones_like(ids)[..., None]
        return (x * real).sum(1) / real.sum(1)


def ids() -> Tensor:
    return torch.randint(1, 12, (8, 10))


def test_order_counts_only_with_positions() -> None:
    for pooled in (True, False):
        with_places, without = (
            by_name(sequences.token_order(plain(Tokens(positions=p, pooled=pooled), ids())))["position-blindness"]
            for p in (True, False)
        )
        assert with_places["value"] > 0.01
        assert without["value"] < 1e-5


def test_a_bag_of_words_is_not_asked() -> None:
    assert not list(sequences.token_order(plain(net(nn.EmbeddingBag(12, 3)), ids())))


def test_the_future_is_hidden_by_a_causal_mask() -> None:
    text = torch.randint(1, 12, (8, 11))
    for causal in (True, False):
        model = Tokens(causal=causal)
        rows = by_name(sequences.future(plain(model, text[:, :-1].contiguous(), text[:, 1:].contiguous())))
        assert (rows["future-leakage"]["value"] < 1e-5) is causal
    assert not list(sequences.future(plain(Tokens(), ids(), ids())))


def test_inputs_that_are_their_own_targets_are_told_from_the_future() -> None:
    text = ids()
    for causal in (True, False):
        rows = by_name(sequences.future(plain(Tokens(causal=causal), text, text.clone())))
        assert (rows["present-asked"]["value"] < 1e-5) is causal
        assert "future-leakage" not in rows


def test_padding_is_left_out_by_a_mask() -> None:
    padded = ids()
    for row, length in enumerate((10, 4, 5, 6, 7, 3, 8, 5)):
        padded[row, length:] = 0
    for mask in (True, False):
        rows = by_name(sequences.padding(plain(Tokens(mask=mask, pooled=True), padded)))
        assert (rows["padding-attended"]["value"] < 1e-4) is mask
    assert not list(sequences.padding(plain(Tokens(), ids())))


# Fitting, rates, reach


def test_a_wide_network_fits_and_a_narrow_one_does_not() -> None:
    x, y = torch.randn(16, 6), torch.arange(16) % 8
    wide, narrow = net(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 8)), net(nn.Linear(6, 1), nn.Tanh(), nn.Linear(1, 8))
    good, bad = (by_name(fitting.overfit_one_batch(plain(m, x, y), Clock(30))) for m in (wide, narrow))
    assert good["overfit-score"]["value"] == 1
    assert bad["overfit-score"]["value"] < 0.8
    assert bad["overfit-plateau"]["value"] > 0.8


def test_rates_are_tried_and_swept() -> None:
    subject = plain(mlp())
    tried = {r["setting"]: r["value"] for r in rates.rate_trials(subject, Clock(30))}
    assert 1 > tried[0.1] > tried[1.0]
    rows = list(rates.rate_range(subject, Clock(30)))
    best = rows[-1]
    assert best["trial"] == "lr-suggestion"
    assert 1e-3 < best["value"] <= 1
    assert len(rows) > 20
    assert subject.optimizer is not None
    assert subject.optimizer.param_groups[0]["lr"] == 0.1


def test_groups_keep_their_proportion() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters(), "lr": 0.01}, {"params": model[2].parameters()}], lr=0.1
    )
    seen: list[tuple[float, ...]] = []
    optimizer.register_step_pre_hook(lambda o, *_: seen.append(tuple(g["lr"] for g in o.param_groups)))
    list(
        rates.rate_range(Subject(model, torch.randn(8, 6), torch.arange(8) % 3, F.cross_entropy, optimizer), Clock(30))
    )
    assert all(a == pytest.approx(b / 10) for a, b in seen)
    assert seen[0][1] == pytest.approx(1e-7)


def test_the_gradient_reaches_what_is_connected() -> None:
    model = mlp()
    model.add_module("unused", nn.Linear(2, 2))

    class Cut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.detach()

    model = net(model[0], Cut(), model[2])
    rows = {r["layer"]: r for r in reach.gradient_reach(plain(model))}
    assert rows["0.weight"]["value"] is None
    assert rows["2.weight"]["value"] > 0


# Everything


def test_models_that_cannot_run_give_rows_that_say_so() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("not today")

    rows = everything(plain(Broken()), 5)
    said = {r["trial"]: r["detail"] for r in rows if r["value"] is None}
    assert "not today" in said["initial-loss"]
    assert "not today" in said["midpoint"]


def test_time_that_is_out_is_said() -> None:
    rows = everything(plain(mlp()), 1e-9)
    assert {r["detail"] for r in rows if r["trial"] == "midpoint"} == {"left out: time"}


@pytest.mark.parametrize("name", ["fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large"])
def test_detectors_of_torchvision_run(name: str) -> None:
    model = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None, num_classes=4)
    images = [torch.rand(3, 64, 80), torch.rand(3, 72, 64), torch.rand(3, 64, 64)]
    boxes = torch.tensor([[5.0, 5, 40, 40], [20, 10, 60, 50]])
    targets = [{"boxes": boxes, "labels": torch.tensor([1, 2])} for _ in images]
    subject = subject_of(model, (images, targets), None)
    rows = by_name(everything(Subject(model, subject.inputs, targets, None, takes_targets=True), 20))
    assert rows["initial-loss"]["value"] > 0
    assert rows["cross-sample"]["value"] is None
