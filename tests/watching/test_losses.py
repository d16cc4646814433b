"""Losses are recognised by their value: every form over drawn shapes, and nothing where none fits."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from snellen.watching.loss_forms import class_rows
from snellen.watching.observers.losses import LossObserver
from snellen.watching.observers.observer import Batch, Context

Draw = Callable[[int], tuple[Tensor, Tensor]]
QUICK = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def step(number: int, loss: Tensor, out: Tensor, target: Tensor) -> Batch:
    return Batch(step=number, phase="training", loss=loss, outputs=out, targets=target, sampled=number < 3)


def recognised(loss: Callable[[Tensor, Tensor], Tensor], draw: Draw, steps: int = 5, **context: Any) -> dict[str, Any]:
    """The form found from `steps` batches."""
    observer = LossObserver(Context(**context))
    for i in range(steps):
        out, target = draw(i)
        observer.batch(step(i, loss(out, target), out, target))
    form: dict[str, Any] = observer.facts().get("loss_form", {})
    return form


def classes(n: int, c: int, *dense: int, scale: float = 1.5) -> Draw:
    def draw(i: int) -> tuple[Tensor, Tensor]:
        pick = torch.Generator().manual_seed(100 * n + c + i)
        return scale * torch.randn(n, c, *dense, generator=pick), torch.randint(c, (n, *dense), generator=pick)

    return draw


def numbers(*shape: int, bits: bool = False, unit: bool = False) -> Draw:
    def draw(i: int) -> tuple[Tensor, Tensor]:
        pick = torch.Generator().manual_seed(7 * len(shape) + shape[0] + i)
        out, t = torch.randn(shape, generator=pick), torch.randn(shape, generator=pick) * 3
        return out.sigmoid() if unit else out, (t > 0).float() if bits else t

    return draw


def soft(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out.softmax(1), y)


def focal(out: Tensor, y: Tensor) -> Tensor:
    each = F.cross_entropy(out, y, reduction="none")
    return ((1 - (-each).exp()) ** 2 * each).mean()


def focal_of_probabilities(out: Tensor, y: Tensor) -> Tensor:
    p = out.softmax(1)
    return ((1 - p.gather(1, y[:, None])[:, 0]) ** 2 * F.cross_entropy(p, y, reduction="none")).mean()


OF_CLASSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], dict[str, Any]]] = {
    "cross-entropy": (F.cross_entropy, {"name": "cross-entropy", "before": "", "reduction": "mean", "sign": 1}),
    "softmax first": (soft, {"name": "cross-entropy", "before": "softmax"}),
    "raw nll": (F.nll_loss, {"name": "nll", "before": ""}),
    "nll of probabilities": (lambda o, y: F.nll_loss(o.softmax(1), y), {"name": "nll", "before": "softmax"}),
    "over the batch": (lambda o, y: F.nll_loss(F.log_softmax(o, 0), y), {"before": "softmax-batch"}),
    "ascent": (lambda o, y: -F.cross_entropy(o, y), {"name": "cross-entropy", "sign": -1}),
    "focal": (focal, {"name": "focal", "gamma": 2.0}),
    "softmax, then focal": (lambda o, y: focal(o.softmax(1), y), {"name": "focal", "before": "softmax"}),
    "focal of softmax": (focal_of_probabilities, {"name": "focal", "before": "softmax", "gamma": 2.0}),
    "accumulated": (lambda o, y: F.cross_entropy(o, y) / 4, {"name": "cross-entropy", "scale": pytest.approx(0.25)}),
    "smoothed": (
        lambda o, y: F.cross_entropy(o, y, label_smoothing=0.2),
        {"name": "cross-entropy", "smoothing": pytest.approx(0.2)},
    ),
    "brier": (
        lambda o, y: F.mse_loss(o.softmax(1), F.one_hot(y, o.shape[1]).float()),
        {"name": "mse", "before": "softmax", "target": "one-hot"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_CLASSES)
@QUICK
@given(n=st.integers(5, 40), c=st.integers(3, 12))
def test_a_loss_of_classes_is_recognised(name: str, n: int, c: int) -> None:
    loss, wanted = OF_CLASSES[name]
    form = recognised(loss, classes(n, c))
    assert {key: form.get(key) for key in wanted} == wanted


OF_NUMBERS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], dict[str, bool], str]] = {
    "mse": (F.mse_loss, {}, "mse"),
    "rmse": (lambda o, t: F.mse_loss(o, t).sqrt(), {}, "rmse"),
    "l1": (F.l1_loss, {}, "l1"),
    "smooth-l1": (F.smooth_l1_loss, {}, "smooth-l1"),
    "huber": (F.huber_loss, {}, "smooth-l1"),
    "log-cosh": (lambda o, t: (o - t).cosh().log().mean(), {}, "log-cosh"),
    "bce-logits": (F.binary_cross_entropy_with_logits, {"bits": True}, "bce-logits"),
    "bce": (F.binary_cross_entropy, {"bits": True, "unit": True}, "bce"),
}


@pytest.mark.parametrize("name", OF_NUMBERS)
@QUICK
@given(shape=st.lists(st.integers(2, 9), min_size=1, max_size=3), data=st.data())
def test_a_loss_of_numbers_is_recognised(name: str, shape: list[int], data: st.DataObject) -> None:
    loss, kind, wanted = OF_NUMBERS[name]
    form = recognised(loss, numbers(shape[0] + 3, *shape[1:], **kind))
    assert (form["name"], form["reduction"], form["broadcast"]) == (wanted, "mean", False)


@QUICK
@given(n=st.integers(3, 64))
def test_a_broadcast_is_told_from_a_squeeze(n: int) -> None:
    def draw(i: int) -> tuple[Tensor, Tensor]:
        out, t = numbers(n, 1)(i)
        return out, t[:, 0]

    assert recognised(lambda o, t: ((o - t) ** 2).mean(), draw)["broadcast"]
    assert not recognised(lambda o, t: ((o[:, 0] - t) ** 2).mean(), draw)["broadcast"]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(12, 5), (3, 4, 6, 5), (2, 7, 9)])
def test_reductions_of_flat_and_dense_outputs(reduction: str, shape: tuple[int, ...]) -> None:
    draw = classes(shape[0], shape[1], *shape[2:])
    form = recognised(lambda o, y: F.cross_entropy(o, y, reduction=reduction), draw)
    assert (form["name"], form["reduction"], form["classes"]) == ("cross-entropy", reduction, shape[1])


def test_ignored_ids_are_left_out_and_counted() -> None:
    def draw(i: int) -> tuple[Tensor, Tensor]:
        out, y = classes(4, 5, 6, 6)(i)
        return out, torch.where(torch.rand(y.shape, generator=torch.Generator().manual_seed(i)) < 0.25, 255, y)

    form = recognised(lambda o, y: F.cross_entropy(o, y, ignore_index=255), draw)
    assert form["name"] == "cross-entropy"
    assert 0.1 < form["ignored_share"] < 0.4
    assert recognised(lambda o, y: F.cross_entropy(o, y, ignore_index=0), classes(24, 6))["ignored"] == 0


def test_class_weights_are_solved_for() -> None:
    weight = torch.tensor([0.2, 1.0, 3.0, 0.5])
    form = recognised(lambda o, y: F.cross_entropy(o, y, weight=weight), classes(32, 4), steps=12)
    assert form["weights"] == pytest.approx((weight / weight.mean()).tolist(), rel=1e-2)
    form = recognised(lambda o, y: F.cross_entropy(o, y, weight=torch.tensor([0.0, 1, 2, 1])), classes(32, 4), steps=12)
    assert form["weights"][0] == pytest.approx(0, abs=1e-3)


def test_a_positive_weight_is_solved_for() -> None:
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(4.0))
    assert recognised(loss, numbers(16, 3, bits=True))["positive_weight"] == pytest.approx(4, rel=1e-2)


def test_half_precision_is_near_enough() -> None:
    def draw(i: int) -> tuple[Tensor, Tensor]:
        out, y = classes(16, 7)(i)
        return out.bfloat16(), y

    assert recognised(F.cross_entropy, draw)["name"] == "cross-entropy"


@pytest.mark.parametrize(("share", "noise", "ground"), [(0.05, 0.1, -1.0), (0.1, 1.0, 0.0), (0.2, 0.3, 1.0)])
def test_in_half_precision_no_factor_is_solved_for_some_other_form(share: float, noise: float, ground: float) -> None:
    """Once these were a softmax before a focal loss, a binary focal loss, and a squared error, times some number."""

    def draw(i: int) -> tuple[Tensor, Tensor]:
        pick = torch.Generator().manual_seed(i)
        y = (torch.rand(16, 8, 8, generator=pick) < share).long()
        out = noise * torch.randn(16, 2, 8, 8, generator=pick) + 0.1 * i * F.one_hot(y, 2).movedim(3, 1)
        out[:, 0] += ground
        return out.bfloat16(), y

    weight = torch.tensor([1.0, 3.0])
    form = recognised(lambda o, y: F.cross_entropy(o.float(), y, weight=weight), draw)
    assert form.get("name", "cross-entropy") == "cross-entropy"
    assert form.get("weights") in (None, pytest.approx([0.5, 1.5], rel=1e-2))


def test_tokens_as_many_as_classes_are_looked_at_both_ways() -> None:
    def draw(i: int) -> tuple[Tensor, Tensor]:
        pick = torch.Generator().manual_seed(i)
        return torch.randn(4, 6, 6, generator=pick), torch.randint(6, (4, 6), generator=pick)

    form = recognised(lambda o, y: F.cross_entropy(o.flatten(0, 1), y.flatten()), draw)
    assert (form["name"], form["axis"]) == ("cross-entropy", -1.0)
    assert "axis" not in recognised(F.cross_entropy, draw)


def test_a_softmax_along_the_batch_of_images_is_recognised() -> None:
    form = recognised(lambda o, y: F.nll_loss(F.log_softmax(o, 0), y), classes(8, 3, 4, 4))
    assert (form["name"], form["before"]) == ("nll", "softmax-batch")


@pytest.mark.parametrize(("share", "part"), [(0.5, "mse"), (5.0, None)])
def test_a_distance_beside_a_small_penalty_is_the_larger_part(share: float, part: str | None) -> None:
    observer, draw = LossObserver(Context()), numbers(16, 5)
    for i in range(8):
        out, target = draw(i)
        loss = F.mse_loss(out, target) + share * (1 + 0.3 * out.square().mean())
        observer.batch(replace(step(i, loss, out, target), sampled=True))
    form = observer.facts().get("loss_form", {})
    assert form.get("part") == part
    assert part is None or (form["name"], form["target"]) == ("", "values")


def entropy_too(o: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(o, y) + 0.1 * o.square().mean()


def contrast(o: Tensor, y: Tensor) -> Tensor:
    z = F.normalize(o, dim=1)
    alike = z @ z.T / 0.3 - 1e9 * torch.eye(len(z))
    return -(F.log_softmax(alike, 1) * (y[:, None] == y)).clamp_min(-50).sum() / len(z)


def auxiliary(o: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(o[:, :-1], y.clamp(max=o.shape[1] - 2)) + 0.5 * o[:, -1].abs().mean()


def critic(o: Tensor, y: Tensor) -> Tensor:
    return o.mean() - o[0].mean()


def evidence(o: Tensor, y: Tensor) -> Tensor:
    return o[:, :1].square().sum(1).mean() - 0.5 * (1 + o[:, 1] - o[:, 1].exp()).mean()


@pytest.mark.parametrize("loss", [entropy_too, contrast, auxiliary, critic, evidence])
@QUICK
@given(n=st.integers(6, 48), c=st.integers(3, 10))
def test_what_is_none_of_the_forms_is_not_taken_for_one(
    loss: Callable[[Tensor, Tensor], Tensor], n: int, c: int
) -> None:
    assert recognised(loss, classes(n, c), steps=16) == {}


def test_a_loss_of_zero_and_one_of_nan_are_said_to_be_that() -> None:
    zero = recognised(lambda o, y: F.cross_entropy(o, y) * 0, classes(8, 4))
    assert zero["name"] == "zero"
    assert zero["cross_entropy"] > 0.5
    nan = recognised(F.cross_entropy, lambda i: (classes(8, 4)(i)[0], torch.full((8,), -100)))
    assert (nan["name"], nan["ignored_share"]) == ("nan", 1.0)


def test_nothing_given_is_nothing_said() -> None:
    observer = LossObserver(Context())
    for i in range(5):
        observer.batch(Batch(step=i, phase="training", loss=1.0, sampled=True))
        observer.batch(Batch(step=i, phase="training", loss=1.0, outputs=torch.randn(4, 2), sampled=True))
    assert observer.facts() == {}


def test_a_look_draws_no_random_number_and_writes_to_nothing() -> None:
    out, y = classes(16, 5)(0)
    out.requires_grad_()
    loss, kept, state = F.cross_entropy(out, y), out.detach().clone(), torch.get_rng_state()
    observer = LossObserver(Context())
    observer.batch(step(0, loss, out, y))
    loss.backward()
    assert torch.equal(out.detach(), kept)
    assert torch.equal(torch.get_rng_state(), state)


def test_state_goes_on_where_it_was() -> None:
    observer = LossObserver(Context())
    for i in range(4):
        out, y = classes(16, 5)(i)
        observer.batch(
            Batch(step=i, phase="training", loss=F.cross_entropy(out, y), outputs=out, targets=y, sampled=True)
        )
    other = LossObserver(Context())
    other.load_state_dict(observer.state_dict())
    assert other.facts() == observer.facts()


@pytest.mark.parametrize(
    ("outputs", "targets", "rows"),
    [
        ((6, 3), (6,), (6, 3)),
        ((2, 3, 4, 4), (2, 4, 4), (32, 3)),
        ((2, 5, 3), (2, 5), (10, 3)),
        ((6, 3), (6, 1), (6, 3)),
    ],
)
def test_class_rows(outputs: tuple[int, ...], targets: tuple[int, ...], rows: tuple[int, int]) -> None:
    found = class_rows(torch.randn(outputs), torch.zeros(targets, dtype=torch.int64))
    assert found is not None
    assert (tuple(found[0].shape), len(found[1])) == (rows, rows[0])


def test_class_rows_of_other_shapes() -> None:
    assert class_rows(torch.randn(6, 3), torch.zeros(4, dtype=torch.int64)) is None
    assert class_rows(torch.randn(6), torch.zeros(6, dtype=torch.int64)) is None
