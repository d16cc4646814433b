"""Faults that people really had, as told in questions and issues, each in a loop written anew.

The docstring says what was done and where the fault was told; nothing of the code shown there is used.
"""

from collections.abc import Iterator

import numpy as np
import torch
from benchmarks.chart import data, networks
from benchmarks.chart.case import Cases, Harness
from benchmarks.chart.program import Data
from benchmarks.chart.subjects import accuracy, language_loss, r_squared
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = Cases("restated")


def batches(part: Data, size: int = 32) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches of digits, normalised; the last, smaller one too, as loaders give it."""
    for rows in torch.randperm(len(part)).split(size):
        yield data.normalise_digits(part.x[rows]), part.y[rows]


@torch.no_grad()
def validate(model: nn.Module, part: Data, shape: tuple[int, ...] = (64,)) -> dict[str, float]:
    """Loss and accuracy of digits in eval mode; back in the mode that was."""
    mode = model.training
    model.eval()
    out = model(data.normalise_digits(part.x).view(-1, *shape))
    model.train(mode)
    return {"loss": float(F.cross_entropy(out, part.y)), "accuracy": accuracy(out, part.y)}


@cases.restated("cnn", number=7, accepts=["only-norms-train", "parameters-missing-from-optimizer"])
def frozen_but_batch_norm(harness: Harness, seed: int) -> float:
    """Every layer but batch norm was frozen, and the optimizer got the frozen head (PyTorch forum 84911)."""
    train, val = data.digits()
    model = networks.cnn()
    for m in model.modules():
        if isinstance(m, nn.Conv2d | nn.Linear):
            for p in m.parameters():
                p.requires_grad = False
    optimizer = torch.optim.SGD(model[-1].parameters(), lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    harness.begin(model, optimizer, loss_fn=criterion)
    for _ in range(4):
        model.train()
        for x, y in batches(train):
            x = x.view(-1, 1, 8, 8)
            optimizer.zero_grad()
            out = model(x)
            loss = criterion(out, y)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(val=validate(model, val, (1, 8, 8)))
    return validate(model, val, (1, 8, 8))["accuracy"]


@cases.restated("cnn", number=1, accepts=["gradients-not-cleared"])
def why_zero_grad(harness: Harness, seed: int) -> float:
    """zero_grad was left out of a convolutional loop (Stack Overflow 60335387)."""
    train, val = data.digits()
    model = networks.cnn()
    criterion, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=criterion)
    for _ in range(4):
        for x, y in batches(train):
            x = x.view(-1, 1, 8, 8)
            out = model(x)
            loss = criterion(out, y)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss.item(), inputs=x, targets=y, outputs=out)
        harness.epoch(val=validate(model, val, (1, 8, 8)))
    return validate(model, val, (1, 8, 8))["accuracy"]


@cases.restated("mlp", number=92, accepts=["augmentation-repeats"])
def workers_with_one_seed(harness: Harness, seed: int) -> float:
    """NumPy draws the augmentation in each worker, and all start from one state (Stack Overflow 67180955)."""
    train, val = data.digits()
    model = networks.mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    x_all = data.normalise_digits(train.x)
    for _ in range(4):
        workers = [np.random.RandomState(seed) for _ in range(4)]  # Copied by fork, at the start of each epoch.
        for number, rows in enumerate(torch.randperm(len(train)).split(32)):
            noise = workers[number % 4].normal(0, 1.0, (32, 64))
            x, y = x_all[rows] + torch.tensor(noise, dtype=torch.float32), train.y[rows]
            out = model(x)
            loss = F.cross_entropy(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(val=validate(model, val))
    return validate(model, val)["accuracy"]


@cases.restated("transformer", number=64, accepts=["evaluation-not-deterministic", "train-eval-mismatch"])
def attention_dropout_in_eval(harness: Harness, seed: int) -> float:
    """One path of attention applied dropout in eval mode as well (transformers 33844)."""
    train, val = data.digits()

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.qkv, self.head = nn.Linear(8, 32), nn.Linear(32, 96), nn.Linear(32, 10)
            self.position = nn.Parameter(torch.randn(8, 32) * 0.1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.enter(x.view(-1, 8, 8)) + self.position
            q, k, v = self.qkv(h).chunk(3, -1)
            h = h + F.scaled_dot_product_attention(q, k, v, dropout_p=0.4)
            return self.head(h.mean(1))

    model = Attention()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(5):
        for x, y in batches(train):
            out = model(x)
            loss = F.cross_entropy(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(val=validate(model, val))
    return validate(model, val)["accuracy"]


@cases.restated("cnn", number=45, accepts=["relu-on-logits", "activation-on-output"])
def relu_after_the_last_layer(harness: Harness, seed: int) -> float:
    """An example network ended in ReLU before cross-entropy (Lightning 4862)."""
    train, val = data.digits()
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10), nn.ReLU())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
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


@cases.restated("gpt", number=11, accepts=["lr-zero", "scheduler-never-called"])
def warm_up_that_never_warms(harness: Harness, seed: int) -> float:
    """The warm-up multiplies by iteration // warm-up, an integer division, and the rate stays 0 (litgpt 689)."""
    train, val = data.text()
    model = networks.Gpt()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    schedule = lr_scheduler.LambdaLR(optimizer, lambda iteration: float(iteration // 2000))
    harness.begin(model, optimizer, loss_fn=language_loss)
    for _ in range(3):
        for rows in torch.randperm(len(train)).split(32):
            x, y = train[rows]
            out = model(x)
            loss = language_loss(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch()
    with torch.no_grad():
        return accuracy(model(val.x), val.y)


@cases.restated(
    "mlp",
    number=38,
    accepts=[
        "gradient-always-zero",
        "dead-relu",
        "symmetric-units",
        "symmetric-initialisation",
        "layer-without-gradient",
    ],
    place="cross|0|1|2|3",
)
def zero_weights_before_relu(harness: Harness, seed: int) -> float:
    """Both factors of a crossing layer start at zero around a ReLU: no gradient, ever (deep-cross-attention 2)."""
    train, val = data.digits()

    class Cross(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cross, self.mix, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
            for layer in (self.cross, self.mix):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.mix(F.relu(self.cross(x))))

    model = Cross()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
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


@cases.restated("gpt", number=55, accepts=["targets-ignored", "loss-not-finite"], place="target|loss")
def every_label_masked(harness: Harness, seed: int) -> float:
    """A chat template that matched nothing masked nearly all labels with -100, and the loss fell to 0 (unsloth 712)."""
    train, val = data.text()
    model = networks.Gpt()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    criterion = nn.CrossEntropyLoss(ignore_index=-100, reduction="sum")

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        return criterion(out.flatten(0, 1), y.flatten()) / (y != -100).sum().clamp(min=1)

    harness.begin(model, optimizer, loss_fn=loss_fn)
    for _ in range(3):
        for rows in torch.randperm(len(train)).split(32):
            x, y = train[rows]
            y = torch.full_like(y, -100)  # The marker of the answer is not found in any line.
            out = model(x)
            loss = loss_fn(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch()
    with torch.no_grad():
        return accuracy(model(val.x), val.y)


@cases.restated("detector", number=110, accepts=["lr-too-high", "lr-trial-rises", "loss-spike"])
def rate_of_eight_gpus(harness: Harness, seed: int) -> float | None:
    """The rate of an 8-GPU recipe with SGD was kept on one small batch (detectron2 425 and 508)."""
    from benchmarks.chart.subjects import detection_loss, recall_of_objects

    train, val = data.boxes()
    model = networks.Detector()
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0, momentum=0.9, weight_decay=1e-4)
    harness.begin(model, optimizer, loss_fn=detection_loss)
    for _ in range(6):
        for rows in torch.randperm(len(train)).split(8)[:16]:
            x, y = train[rows]
            x = data.normalise_pixels(x)
            out = model(x)
            loss = detection_loss(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch()
    model.eval()
    with torch.no_grad():
        return recall_of_objects(model(data.normalise_pixels(val.x)), val.y)


@cases.restated("mlp", number=54, accepts=["loss-not-finite"])
def log_of_zero(harness: Harness, seed: int) -> float:
    """A cross-entropy of one's own takes the logarithm of probabilities that reach 0 (keras 198)."""
    train, val = data.digits()

    class Shares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = networks.mlp()

        def forward(self, x: Tensor) -> Tensor:
            weight = F.relu(self.body(x))
            return weight / (weight.sum(1, keepdim=True) + 1e-6)

    model = Shares()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def own(out: Tensor, y: Tensor) -> Tensor:
        return -(F.one_hot(y, 10) * torch.log(out)).sum(1).mean()

    harness.begin(model, optimizer, loss_fn=own)
    for _ in range(4):
        for x, y in batches(train):
            out = model(x)
            loss = own(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch()
    return validate(model, val)["accuracy"]


@cases.restated("cnn", number=44, accepts=["softmax-before-cross-entropy"])
def softmax_in_forward(harness: Harness, seed: int) -> float:
    """forward ends in softmax and the criterion is CrossEntropyLoss: the most asked of all (PyTorch forum)."""
    train, val = data.digits()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
            self.fc1, self.fc2 = nn.Linear(32 * 4, 64), nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = F.max_pool2d(F.relu(self.conv1(x)), 2)
            x = F.max_pool2d(F.relu(self.conv2(x)), 2)
            return F.softmax(self.fc2(F.relu(self.fc1(x.flatten(1)))), dim=1)

    model = Net()
    criterion, optimizer = nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=criterion)
    for _ in range(4):
        for x, y in batches(train):
            x = x.view(-1, 1, 8, 8)
            optimizer.zero_grad()
            out = model(x)
            loss = criterion(out, y)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(val=validate(model, val, (1, 8, 8)))
    return validate(model, val, (1, 8, 8))["accuracy"]


@cases.restated("regression", number=51, accepts=["broadcast-loss"])
def column_against_row(harness: Harness, seed: int) -> float:
    """The network gives (N, 1), the target is (N,), and every prediction is compared with every target (forum)."""
    train, val = data.diabetes()
    model = nn.Sequential(nn.Linear(10, 48), nn.ReLU(), nn.Linear(48, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    criterion = nn.MSELoss()
    harness.begin(model, optimizer, loss_fn=criterion)
    for _ in range(8):
        for rows in torch.randperm(len(train)).split(32):
            x, y = train.x[rows], train.y[rows, 0]
            out = model(x)
            loss = criterion(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch()
    with torch.no_grad():
        return r_squared(model(val.x), val.y)


@cases.restated("mlp", number=67, accepts=["model-in-eval-mode"])
def train_called_once(harness: Harness, seed: int) -> float:
    """model.train() stands before the loop over epochs, model.eval() in the validation inside it (PyTorch forum)."""
    train, val = data.digits()
    model = nn.Sequential(
        nn.Linear(64, 64),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    model.train()
    for _ in range(5):
        for x, y in batches(train):
            out = model(x)
            loss = F.cross_entropy(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        model.eval()
        harness.epoch(val=validate(model, val))
    return validate(model, val)["accuracy"]


@cases.restated(
    "mlp", number=32, accepts=["unregistered-layers", "unregistered-module", "parameters-missing-from-optimizer"]
)
def layers_in_a_list(harness: Harness, seed: int) -> float:
    """The hidden layers are kept in a Python list (PyTorch forum)."""
    train, val = data.digits()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(64, 64), nn.Linear(64, 64)]
            self.out = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = torch.relu(layer(x))
            return self.out(x)

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
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


@cases.restated("mlp", number=28, accepts=["loss-without-graph", "no-backward", "layer-without-gradient"])
def loss_made_anew(harness: Harness, seed: int) -> float:
    """The sum of losses is put into torch.tensor(..., requires_grad=True) to silence an error (PyTorch forum)."""
    train, val = data.digits()
    model = networks.mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(4):
        for x, y in batches(train):
            out = model(x)
            loss = torch.tensor(F.cross_entropy(out, y).item(), requires_grad=True)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(val=validate(model, val))
    return validate(model, val)["accuracy"]
