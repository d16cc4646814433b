"""More faults that people really had: in axes, targets, metrics, scales and the order of the data.

As in `restated.py` the docstring says what was done and where the fault was told.
"""

import torch
from benchmarks.chart import data, networks
from benchmarks.chart.case import Cases, Harness
from benchmarks.chart.restated import batches, validate
from benchmarks.chart.subjects import accuracy, r_squared
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = Cases("restated")


@cases.restated("gru", number=76, accepts=["samples-mixed"])
def batch_axis_taken_for_time(harness: Harness, seed: int) -> float:
    """Batches are (N, T, F), the GRU was made without batch_first: it walks over the samples (PyTorch forum)."""
    train, val = data.series()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.fc = nn.GRU(2, 32), nn.Linear(32, 4)

        def forward(self, x: Tensor) -> Tensor:
            out, _ = self.rnn(x)
            return self.fc(out[:, -1])

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(4):
        for rows in torch.randperm(len(train)).split(32):
            x, y = train[rows]
            out = model(x)
            loss = F.cross_entropy(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch()
    model.eval()
    with torch.no_grad():
        return accuracy(model(val.x), val.y)


@cases.restated("mlp", number=98, accepts=["metric-contradicts-loss"])
def argmax_over_the_batch(harness: Harness, seed: int) -> float:
    """Accuracy is taken with argmax over axis 0 and compared up to the shorter length: it stays at chance (forum)."""
    train, val = data.digits()
    model = networks.mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(6):
        model.train()
        running, hits, seen = 0.0, 0, 0
        for x, y in batches(train):
            out = model(x)
            loss = F.cross_entropy(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running += loss.item() * len(x)
            guess = out.argmax(0)
            hits, seen = hits + int((guess == y[:10]).sum()), seen + len(y)
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(data.normalise_digits(val.x))
        wrong = float((out.argmax(0) == val.y[:10]).sum() / len(val.y))
        harness.epoch(
            train={"loss": running / len(train), "accuracy": hits / seen},
            val={"loss": float(F.cross_entropy(out, val.y)), "accuracy": wrong},
        )
    return validate(model, val)["accuracy"]


@cases.restated("regression", number=79, accepts=["input-scale-off"], place="input|0")
def features_of_any_size(harness: Harness, seed: int) -> float:
    """Features are prices and areas in their own units and only one is small: the loss does not move (forum)."""
    train, val = data.diabetes()
    unit = torch.tensor([1.0, 50.0, 3e3, 2e4, 900.0, 1e4, 120.0, 5e3, 40.0, 7e3])
    shift = 3 * unit
    model = nn.Sequential(nn.Linear(10, 48), nn.ReLU(), nn.Linear(48, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    criterion = nn.MSELoss()
    harness.begin(model, optimizer, loss_fn=criterion)
    for _ in range(8):
        for rows in torch.randperm(len(train)).split(32):
            x, y = train.x[rows] * unit + shift, train.y[rows]
            out = model(x)
            loss = criterion(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch()
    with torch.no_grad():
        return r_squared(model(val.x * unit + shift), val.y)


@cases.restated("binary", number=48, accepts=["binary-loss-of-wrong-outputs"])
def sigmoid_twice(harness: Harness, seed: int) -> float:
    """A sigmoid ends the network and BCEWithLogitsLoss applies another (PyTorch forum)."""
    train, val = data.digits()
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 1), nn.Sigmoid())
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    criterion = nn.BCEWithLogitsLoss()
    harness.begin(model, optimizer, loss_fn=criterion)
    for _ in range(4):
        for x, y in batches(train):
            target = (y % 2).float().unsqueeze(1)
            out = model(x)
            loss = criterion(out, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=target, outputs=out)
        harness.epoch()
    model.eval()
    with torch.no_grad():
        guess = model(data.normalise_digits(val.x))[:, 0] > 0.5
    return float((guess == (val.y % 2 > 0)).float().mean())


@cases.restated(
    "mlp", number=5, accepts=["parameters-missing-from-optimizer", "optimizer-holds-stale-tensors"], place="2|4"
)
def head_replaced_after_the_optimizer(harness: Harness, seed: int) -> float:
    """Fine-tuning: the optimizer is made first, the head is replaced afterwards (PyTorch forum)."""
    train, val = data.digits()
    model = networks.mlp(outputs=100)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    model[-1] = nn.Linear(64, 10)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(4):
        for x, y in batches(train):
            out = model(x)
            loss = F.cross_entropy(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(val=validate(model, val))
    return validate(model, val)["accuracy"]


@cases.restated("cnn", number=89, accepts=["class-pure-batches"])
def folders_without_shuffle(harness: Harness, seed: int) -> float:
    """Class folders are read in order and the loader does not shuffle (Stack Overflow, many times)."""
    train, val = data.digits()
    order = train.y.argsort(stable=True)
    model = networks.cnn()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(4):
        model.train()
        for rows in order.split(32):
            x, y = data.normalise_digits(train.x[rows]).view(-1, 1, 8, 8), train.y[rows]
            out = model(x)
            loss = F.cross_entropy(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(val=validate(model, val, (1, 8, 8)))
    return validate(model, val, (1, 8, 8))["accuracy"]


@cases.restated("mlp", number=12, accepts=["lr-decays-too-fast"])
def step_schedule_inside_the_batch_loop(harness: Harness, seed: int) -> float:
    """StepLR(7, 0.1) is meant in epochs and stepped with every batch: the rate is gone after 30 (PyTorch forum)."""
    train, val = data.digits()
    model = networks.mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    schedule = lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(5):
        for x, y in batches(train):
            optimizer.zero_grad()
            out = model(x)
            loss = F.cross_entropy(out, y)
            loss.backward()
            optimizer.step()
            schedule.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(val=validate(model, val))
    return validate(model, val)["accuracy"]


@cases.restated("mlp", number=46, accepts=["softmax-over-batch"])
def softmax_without_the_right_axis(harness: Harness, seed: int) -> float:
    """log_softmax got dim=0 to silence a warning about the missing argument (PyTorch forum)."""
    train, val = data.digits()
    model = networks.mlp()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = model

        def forward(self, x: Tensor) -> Tensor:
            return F.log_softmax(self.body(x), dim=0)

    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    criterion = nn.NLLLoss()
    harness.begin(net, optimizer, loss_fn=criterion)
    for _ in range(4):
        for x, y in batches(train):
            out = net(x)
            loss = criterion(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(val=validate(net, val))
    return validate(net, val)["accuracy"]


@cases.restated("unet", number=87, accepts=["labels-start-at-one", "classes-never-taught", "target-classes-shifted"])
def masks_that_start_at_one(harness: Harness, seed: int) -> float | None:
    """Masks number the classes from 1, so one more output was added until the error went away (segmentation forums)."""
    from benchmarks.chart.subjects import mean_iou

    train, val = data.masks()
    model = networks.UNet(classes=5)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    criterion = nn.CrossEntropyLoss()
    harness.begin(model, optimizer, loss_fn=criterion)
    for _ in range(3):
        model.train()
        for rows in torch.randperm(len(train)).split(16):
            x, y = data.normalise_pixels(train.x[rows]), train.y[rows] + 1
            out = model(x)
            loss = criterion(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch()
    model.eval()
    with torch.no_grad():
        return mean_iou(model(data.normalise_pixels(val.x)), val.y)
