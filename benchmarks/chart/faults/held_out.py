"""Held-out faults on tables: loops, optimizers, schedules, losses and labels."""

import copy

import numpy as np
import torch
from benchmarks.chart.case import Cases, Harness
from benchmarks.chart.held_out import accuracy, batches, cancer, cut, fit, moons, standardised, table_net, wine
from sklearn.datasets import make_moons
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = Cases("held-out")


def binary_accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Of one output per row, above 0 is class 1."""
    return float(((outputs.flatten() > 0).float() == targets.flatten()).float().mean())


@cases.restated("cancer", accepts=["binary-loss-of-wrong-outputs"])
def sigmoid_kept_with_logits_loss(harness: Harness, seed: int) -> float | None:
    """The network ends in a sigmoid and the loss is BCEWithLogitsLoss."""
    x, y, vx, vy = cancer()
    model = nn.Sequential(table_net(30, 1), nn.Sigmoid())
    split = x, y.float()[:, None], vx, vy.float()[:, None]
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=2e-3), nn.BCEWithLogitsLoss(), split,
               measure=lambda o, t: binary_accuracy(o - 0.5, t))  # fmt: skip


@cases.restated("cancer", accepts=["broadcast-loss"])
def huber_of_column_and_row(harness: Harness, seed: int) -> float | None:
    """Regression by Huber loss of (N, 1) predictions and (N,) targets."""
    x, _, vx, _ = cancer()
    model = table_net(26, 1)
    split = x[:, 4:], x[:, 3].clone(), vx[:, 4:], vx[:, 3].clone()
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=2e-3), F.smooth_l1_loss, split, measure=None)


@cases.restated("wine", accepts=["input-scale-off"])
def proline_in_thousands(harness: Harness, seed: int) -> float | None:
    """Raw features, one of which is near 1000 while the others are near 1."""
    split = wine(raw=True)
    model = table_net(13, 3)
    return fit(harness, model, torch.optim.SGD(model.parameters(), lr=1e-2), F.cross_entropy, split, epochs=15, size=16)


@cases.restated("wine", accepts=["labels-start-at-one", "unused-outputs"])
def cultivars_one_to_three(harness: Harness, seed: int) -> float | None:
    """The labels of the file are 1..3; the head was given a fourth output so that it ran."""
    x, y, vx, vy = wine()
    model = table_net(13, 4)
    split = x, y + 1, vx, vy + 1
    return fit(
        harness, model, torch.optim.Adam(model.parameters(), lr=2e-3), F.cross_entropy, split, size=16, epochs=12
    )


@cases.restated("moons", accepts=["linear-network"])
def forgot_the_activations(harness: Harness, seed: int) -> float | None:
    """Linear layers with dropout between them and no activation."""
    model = nn.Sequential(nn.Linear(2, 64), nn.Dropout(0.1), nn.Linear(64, 64), nn.Dropout(0.1), nn.Linear(64, 2))
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), F.cross_entropy, moons(), epochs=6)


@cases.restated("cancer", accepts=["gradients-erased"])
def cleared_after_backward(harness: Harness, seed: int) -> float | None:
    """zero_grad stands between backward and step."""
    x, y, vx, vy = cancer()
    model = table_net(30, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(8):
        for inputs, targets in batches(x, y):
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            model.zero_grad()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        harness.epoch()
    return accuracy(model(vx), vy)


@cases.restated("cancer", accepts=["gradients-erased"])
def only_last_micro_batch_counts(harness: Harness, seed: int) -> float | None:
    """Gradient accumulation over four batches, with zero_grad before each backward."""
    x, y, vx, vy = cancer()
    model = table_net(30, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=5e-2, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(12):
        for i, (inputs, targets) in enumerate(batches(x, y, 8)):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets) / 4
            loss.backward()
            if i % 4 == 3:
                optimizer.step()
                harness.step(loss=loss * 4, inputs=inputs, targets=targets, outputs=out)
        harness.epoch()
    return accuracy(model(vx), vy)


@cases.restated("cancer", accepts=["accumulation-not-averaged"])
def sixteen_batches_added_up(harness: Harness, seed: int) -> float | None:
    """Gradient accumulation over 16 micro-batches whose losses are not divided."""
    x, y, vx, vy = cancer()
    model = table_net(30, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=5e-2, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(20):
        for i, (inputs, targets) in enumerate(batches(x, y, 4)):
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            if (i + 1) % 16 == 0:
                optimizer.step()
                optimizer.zero_grad()
                harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        harness.epoch()
    return accuracy(model(vx), vy)


@cases.restated("wine", accepts=["optimizer-holds-stale-tensors", "parameters-missing-from-optimizer"], place="4")
def head_replaced_after_optimizer(harness: Harness, seed: int) -> float | None:
    """The head is replaced for the new task after the optimizer was made."""
    x, y, vx, vy = wine()
    model = table_net(13, 10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    model[4] = nn.Linear(48, 3)
    return fit(harness, model, optimizer, F.cross_entropy, (x, y, vx, vy), size=16, epochs=12)


@cases.restated("moons", accepts=["loss-without-graph", "no-backward"])
def loss_wrapped_anew(harness: Harness, seed: int) -> float | None:
    """The loss is made a new tensor that requires gradients, to silence the error."""
    x, y, vx, vy = moons()
    model = table_net(2, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer)
    for _ in range(4):
        for inputs, targets in batches(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = torch.tensor(F.cross_entropy(out, targets).item(), requires_grad=True)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
    return accuracy(model(vx), vy)


def rare_moons() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two noisy moons, of the second one 3 %."""
    x, y = make_moons(4000, noise=0.35, random_state=1)
    keep = np.concatenate([np.flatnonzero(y == 0)[:1164], np.flatnonzero(y == 1)[:36]])
    return standardised(cut(x[keep], y[keep]))


@cases.restated("moons", accepts=["majority-predicted", "class-imbalance", "rare-class"])
def fraud_is_three_percent(harness: Harness, seed: int) -> float | None:
    """Three rows in a hundred are positive and nothing is done about it: none is ever found, accuracy is 97 %."""
    model = table_net(2, 2, 16)
    return fit(harness, model, torch.optim.SGD(model.parameters(), lr=2e-2), F.cross_entropy, rare_moons(), epochs=6)


@cases.restated("moons", accepts=["class-weights-off"])
def weights_are_frequencies(harness: Harness, seed: int) -> float | None:
    """Class weights are the class frequencies, not their inverses."""
    split = rare_moons()
    weight = torch.bincount(split[1]).float() / len(split[1])
    model = table_net(2, 2, 16)
    loss_fn = nn.CrossEntropyLoss(weight=weight)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), loss_fn, split, epochs=6)


@cases.restated("cancer", accepts=["weight-decay-dominates"])
def decay_as_keras_rate(harness: Harness, seed: int) -> float | None:
    """weight_decay=0.9, taken for a factor that is kept per step."""
    model = table_net(30, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=5e-2, momentum=0.9, weight_decay=0.9)
    return fit(harness, model, optimizer, F.cross_entropy, cancer())


@cases.restated("cancer", accepts=["validation-rows-in-training"])
def oversampled_before_split(harness: Harness, seed: int) -> float | None:
    """The rare class is oversampled by repetition first, and then the rows are split."""
    x, y, vx, vy = cancer()
    x, y = torch.cat([x, vx]), torch.cat([y, vy])
    rare = torch.where(y == 0)[0]
    x, y = torch.cat([x, x[rare], x[rare]]), torch.cat([y, y[rare], y[rare]])
    order = torch.randperm(len(x))
    x, y = x[order] + 0.0, y[order]
    model = table_net(30, 2)
    split = x[:700], y[:700], x[700:], y[700:]
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=2e-3), F.cross_entropy, split)


@cases.restated("wine", accepts=["labels-carry-no-information", "noisy-labels"])
def features_shuffled_alone(harness: Harness, seed: int) -> float | None:
    """The rows of the features are shuffled, those of the labels are not."""
    x, y, vx, vy = wine()
    model = table_net(13, 3)
    split = x[torch.randperm(len(x))], y, vx, vy
    return fit(
        harness, model, torch.optim.Adam(model.parameters(), lr=2e-3), F.cross_entropy, split, size=16, epochs=15
    )


@cases.restated("cancer", accepts=["train-val-inputs-differ"])
def validation_not_scaled(harness: Harness, seed: int) -> float | None:
    """Training rows are standardised, validation rows are raw."""
    (x, y, _, _), (_, _, vx, vy) = cancer(), cancer(raw=True)
    model = table_net(30, 2)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=2e-3), F.cross_entropy, (x, y, vx, vy))


@cases.restated("cancer", accepts=["freeze-has-no-effect"], place="0|2")
def momentum_moves_the_frozen(harness: Harness, seed: int) -> float | None:
    """In the second stage the trunk is frozen, but zeroed gradients stay and momentum and decay go on moving it."""
    x, y, vx, vy = cancer()
    model = table_net(30, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=2e-2, momentum=0.9, weight_decay=1e-2)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for epoch in range(10):
        if epoch == 3:
            for p in [*model[0].parameters(), *model[2].parameters()]:
                p.requires_grad_(False)
        for inputs, targets in batches(x, y):
            optimizer.zero_grad(set_to_none=False)
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        harness.epoch()
    return accuracy(model(vx), vy)


@cases.restated("cancer", accepts=["update-below-resolution", "weights-unchanged"])
def everything_in_bfloat16(harness: Harness, seed: int) -> float | None:
    """The weights themselves are bfloat16 and fine-tuned with 1e-5."""
    x, y, vx, vy = cancer()
    model = table_net(30, 2).bfloat16()
    split = x.bfloat16(), y, vx.bfloat16(), vy
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=1e-5), F.cross_entropy, split)


@cases.restated("cancer", accepts=["non-finite-data"])
def missing_values_left_in(harness: Harness, seed: int) -> float | None:
    """A few measurements are missing and stand as NaN."""
    x, y, vx, vy = cancer()
    x[::97, 7] = float("nan")
    model = table_net(30, 2)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=2e-3), F.cross_entropy, (x, y, vx, vy))


@cases.restated("moons", accepts=["validates-another-model"])
def average_never_updated(harness: Harness, seed: int) -> float | None:
    """Validation uses the moving average of the weights, which nobody updates."""
    x, y, vx, vy = moons()
    model = table_net(2, 2)
    average = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin([model, average], optimizer, loss_fn=F.cross_entropy)
    for _ in range(8):
        total = 0.0
        for inputs, targets in batches(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            total += loss.item()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        average.eval()
        with torch.no_grad():
            out = average(vx)
        val = {"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)}
        harness.epoch(train={"loss": total / 22}, val=val)
    return val["accuracy"]


@cases.restated("moons", accepts=["lr-too-low"])
def one_cycle_stepped_per_epoch(harness: Harness, seed: int) -> float | None:
    """OneCycleLR was given its length in batches and is stepped once per epoch: it stays at its low start."""
    model = table_net(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=22 * 8)
    return fit(harness, model, optimizer, F.cross_entropy, moons(), scheduler=cycle)


@cases.restated("moons", accepts=["lr-decays-too-fast"])
def step_decay_in_batches(harness: Harness, seed: int) -> float | None:
    """StepLR(step_size=5) was meant for epochs and is stepped at each batch."""
    model = table_net(2, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    decay = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.3)
    return fit(harness, model, optimizer, F.cross_entropy, moons(), scheduler=decay, per_batch=True)


@cases.restated("cancer", accepts=["lr-too-low"])
def lambda_gives_the_rate_itself(harness: Harness, seed: int) -> float | None:
    """LambdaLR's function returns the learning rate, which is then multiplied by the learning rate again."""
    model = table_net(30, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1e-3 * 0.99**step)
    return fit(harness, model, optimizer, F.cross_entropy, cancer(), scheduler=schedule)


@cases.restated("cancer", accepts=["lr-zero"])
def integer_warmup(harness: Harness, seed: int) -> float | None:
    """Warm-up by `step // warmup`, which is 0 until the warm-up ends."""
    model = table_net(30, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, step // 90))
    return fit(harness, model, optimizer, F.cross_entropy, cancer(), scheduler=schedule, per_batch=True)


@cases.restated("cancer", accepts=["clipping-dominates"])
def clipped_to_a_thousandth(harness: Harness, seed: int) -> float | None:
    """clip_grad_norm_(1e-3) with SGD, taken for a threshold per weight."""
    x, y, vx, vy = cancer()
    model = table_net(30, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=5e-2)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(8):
        for inputs, targets in batches(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        harness.epoch()
    return accuracy(model(vx), vy)


@cases.restated("cancer", accepts=["optimizer-state-lost"])
def optimizer_made_each_epoch(harness: Harness, seed: int) -> float | None:
    """A function that trains one epoch clears the optimizer's state each time it is called."""
    x, y, vx, vy = cancer()
    model = table_net(30, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    fresh = copy.deepcopy(optimizer.state_dict())
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(8):
        optimizer.load_state_dict(copy.deepcopy(fresh))
        for inputs, targets in batches(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        harness.epoch()
    return accuracy(model(vx), vy)


@cases.restated("moons", accepts=["momentum-too-high"])
def momentum_of_a_moving_average(harness: Harness, seed: int) -> float | None:
    """momentum=0.999, copied from the moving average of the weights."""
    model = table_net(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.999)
    return fit(harness, model, optimizer, F.cross_entropy, moons())


@cases.restated("moons", accepts=["graph-grows"])
def history_of_losses_with_graphs(harness: Harness, seed: int) -> float | None:
    """The losses of the epoch are kept as tensors, to be averaged for the log."""
    x, y, vx, vy = moons()
    model = table_net(2, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    history: list[Tensor] = []
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(6):
        for inputs, targets in batches(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            history.append(loss)
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        harness.epoch(train={"loss": float(torch.stack(history).mean())})
    return accuracy(model(vx), vy)
