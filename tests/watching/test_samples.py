"""What is measured of the samples of a run, on batches made by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snellen.watching.observers.observer import Batch, Context
from snellen.watching.observers.samples import SampleObserver


def observe(
    batches: list[Batch], model: nn.Module | None = None
) -> dict[tuple[str, str | None, int | None], dict[str, Any]]:
    observer = SampleObserver(Context())
    model = model or nn.Linear(64, 3)
    observer.attach(model, [])
    for batch in batches:
        observer.batch(batch)
    observer.detach()
    return {(r["measure"], r.get("phase"), r.get("index")): r for r in observer.facts()["measures"]}


def training(x: Any, y: Any = None, out: Any = None, step: int = 0) -> Batch:
    return Batch(step=step, phase="training", inputs=x, targets=y, outputs=out)


def validation(x: Any) -> Batch:
    return Batch(step=9, phase="validation", inputs=x)


def test_equal_rows_have_equal_prints_and_order_matters() -> None:
    x = torch.randn(8, 64)
    x[3] = x[0]
    x[5] = x[1].flip(0)
    found = observe([training(x, torch.arange(8) % 3)])
    assert found["batch-distinct", "training", None]["value"] == 7 / 8
    assert found["rows-distinct", "training", None]["value"] == 7
    # Row 0 bears label 0, and row 3 as well; row 5 is another row than row 1.
    assert found["rows-under-two-labels", "training", None]["value"] == 0


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int64])
def test_rows_are_told_apart_in_every_type(kind: torch.dtype) -> None:
    x = torch.arange(16 * 40).reshape(16, 40).remainder(251).to(kind)
    assert observe([training(x)])["rows-distinct", "training", None]["value"] == 16


def test_a_row_with_two_labels_is_counted_once() -> None:
    x = torch.randn(4, 64)
    found = observe([training(x, torch.tensor([0, 1, 2, 0])), training(x, torch.tensor([1, 1, 2, 0]), step=1)])
    row = found["rows-under-two-labels", "training", None]
    assert (row["value"], row["of"], row["step"]) == (0.25, 4, 1)


def test_validation_rows_are_met_again_in_training() -> None:
    x = torch.randn(40, 64)
    found = observe([training(x[:32]), validation(x[24:40])])
    assert found["validation-rows-trained-on", None, None]["value"] == 0.5
    assert found["trained-rows-validated", None, None]["value"] == 0.25
    assert found["validation-batches-mixed", None, None]["value"] == 1


def test_channels_are_compared_and_reversed_ones_are_known() -> None:
    tint = torch.tensor([2.0, 0.0, -2.0]).view(1, 3, 1, 1)
    x, v = torch.randn(64, 3, 8, 8) + tint, torch.randn(64, 3, 8, 8) + tint.flip(1)
    found = observe([training(x), validation(v)])
    assert found["channel-shift", None, 0]["value"] == pytest.approx(-4, abs=0.2)
    assert found["channel-shift", None, 1]["value"] == pytest.approx(0, abs=0.2)
    assert found["channels-reversed", None, None]["value"] < 0.1


def test_first_layer_is_measured_unless_a_norm_comes_first() -> None:
    x = torch.randn(32, 64) * 100
    for model, seen in (
        (nn.Sequential(nn.Linear(64, 3)), True),
        (nn.Sequential(nn.BatchNorm1d(64), nn.Linear(64, 3)), False),
    ):
        observer = SampleObserver(Context())
        observer.attach(model, [])
        model(x)
        observer.batch(training(x))
        rms = [r for r in observer.facts()["measures"] if r["measure"] == "layer-rms"]
        assert bool(rms) is seen
        if seen:
            assert rms[0]["value"] == pytest.approx(100, rel=0.05)
            assert rms[0]["detail"] == "0"


def test_neighbours_agree_when_labels_follow_inputs_and_not_when_shuffled() -> None:
    y = torch.randint(0, 4, (400,))
    x = torch.randn(400, 32) + 3 * nn.functional.one_hot(y, 4).float().repeat_interleave(8, 1)
    sound = observe([training(x, y)])
    mixed = observe([training(x, y[torch.randperm(400)])])
    assert sound["neighbour-lift", None, None]["value"] > 0.9
    assert abs(mixed["neighbour-z", None, None]["value"]) < 4
    assert sound["label-entropy", None, None]["value"] == pytest.approx(np.log(4), abs=0.02)


def test_places_are_alike_within_rounds_of_workers_only() -> None:
    def run(workers: int) -> tuple[float, float, int]:
        batches = []
        for step in range(40):
            noise = torch.randn(16, 64, generator=torch.Generator().manual_seed(step // workers))
            batches.append(training(torch.randn(16, 64) + noise, step=step))
        row = next(r for k, r in observe(batches).items() if k[0] == "places-alike")
        return row["value"], row["of"], row["index"]

    effect, z, workers = run(3)
    assert effect > 0.3
    assert z > 8
    assert workers == 3
    assert run(1)[0] < 0.05


def test_random_labels_are_seen_in_confident_disagreement() -> None:
    torch.manual_seed(0)
    y = torch.randint(0, 5, (600,))
    given = torch.where(torch.rand(600) < 0.3, torch.randint(0, 5, (600,)), y)
    x, out = torch.randn(600, 64), 4 * nn.functional.one_hot(y, 5).float()
    found = observe([training(x, given, out)])
    assert found["confident-disagreement", None, None]["value"] == pytest.approx(0.24, abs=0.05)
    assert found["disagreement-unevenness", None, None]["value"] < 0.5
    found = observe([training(x, y, out)])
    assert found["confident-disagreement", None, None]["value"] == 0


def test_nothing_is_said_of_nothing() -> None:
    assert observe([]) == {}
    assert observe([training(None), training(torch.zeros(0, 4)), training(torch.randn(5))]) == {}


def test_images_of_several_sizes_are_rows() -> None:
    images = [torch.randn(3, 16 + i, 20) for i in range(4)]
    found = observe([training(images), training([*images[:2], images[0]], step=1)])
    assert found["rows-distinct", "training", None]["value"] == 4


def test_state_goes_on_where_it_was() -> None:
    x, y = torch.randn(64, 64), torch.randint(0, 3, (64,))
    first = SampleObserver(Context())
    first.batch(training(x[:32], y[:32], torch.randn(32, 3)))
    second = SampleObserver(Context())
    second.load_state_dict(first.state_dict())
    for observer in (first, second):
        observer.batch(training(x[32:], y[32:], torch.zeros(32, 3), step=1))
    assert first.facts() == second.facts()


def test_looking_changes_no_input_and_draws_no_number() -> None:
    x: Tensor = torch.randn(16, 3, 8, 8)
    model = nn.Linear(64, 3)
    before, state = x.clone(), torch.get_rng_state()
    observe([training(x, torch.zeros(16, dtype=torch.int64)), validation(x)], model)
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_test_after_the_last_step_is_no_validation() -> None:
    x = torch.randn(80, 64)
    during = [training(x[:40]), validation(x[:40]), training(x[:40], step=1), validation(x[40:])]
    assert observe(during)["validation-rows-trained-on", None, None]["value"] == 1
    assert observe([training(x[:40]), validation(x[40:])])["validation-rows-trained-on", None, None]["value"] == 0


def test_guesses_count_where_a_row_is_new() -> None:
    x, y = torch.randn(800, 8), torch.arange(800) % 4
    right, wrong = nn.functional.one_hot(y, 4).float(), nn.functional.one_hot((y + 1) % 4, 4).float()
    # The last quarter of the new rows is right; later, when all are old, every guess is wrong.
    batches = [training(x[:600], y[:600], wrong[:600]), training(x[600:], y[600:], right[600:], step=1)]
    batches.append(training(x, y, wrong, step=2))
    found = observe(batches)["first-sight-accuracy", None, None]
    assert (found["value"], found["of"]) == (1.0, 200)


def test_the_column_that_is_the_label_is_named() -> None:
    x = torch.randn(400, 6)
    numbers = observe([training(x, 3 * x[:, 4] - 1)])
    assert numbers["answer-column", None, 4]["value"] > 0.999999
    y = torch.arange(400) % 3
    x[:, 2] = torch.where(y == 1, 0.0, 1 + x[:, 2].abs())
    assert observe([training(x, y)])["answer-column", None, 2]["value"] == 1


def test_two_pictures_of_a_pair_are_one_row() -> None:
    x = torch.randn(8, 64)
    found = observe([training((x, x.roll(1, 0)), torch.zeros(8)), training((x, x.roll(2, 0)), torch.ones(8), step=1)])
    assert found["rows-distinct", "training", None]["value"] == 16
    assert found["rows-under-two-labels", "training", None]["value"] == 0
