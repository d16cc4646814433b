"""Image classification as it is done in notebooks and at work, by a sixth author, without any threshold.

See `healthy_sixth.py`.
"""

import copy

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_sixth import block, course, textures
from benchmarks.chart.second import SecondCases, accuracy, digits, draws, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.transforms import v2

cases = SecondCases("sixth")


class Residual(nn.Module):
    """Two convolutions and a shortcut, as in ResNet-18."""

    def __init__(self, into: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.short = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """Sum of both ways."""
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.short(x))


def resnet(classes: int, width: int = 12) -> nn.Sequential:
    """A residual network for small images."""
    return nn.Sequential(
        block(3, width), Residual(width, width), Residual(width, 2 * width, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(2 * width, classes),
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def resnet_with_the_usual_recipe(harness: Harness, seed: int) -> float:
    """ResNet, SGD 0.1 with momentum 0.9, Nesterov, decay 5e-4, cosine by epoch; random flips; mean and deviation."""
    x, y, vx, vy = signs(count=640)
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    model = resnet(4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=9)

    def flip(a: Tensor) -> Tensor:
        return torch.where(torch.rand(len(a), 1, 1, 1) < 0.5, a.flip(3), a)

    split = ((x - mean) / std, y, (vx - mean) / std, vy)
    loss_fn = nn.CrossEntropyLoss()
    return course(
        harness, model, optimizer, loss_fn, split, epochs=9, size=64, scheduler=scheduler, transform=flip, tell="i"
    )


@cases.recipe("cnn", 0.85)
def folder_of_pictures(harness: Harness, seed: int) -> float:
    """A Dataset class with bytes and transforms, best weights kept by deepcopy and loaded at the end, two phases."""
    x, y, vx, vy = textures()
    train_tf = v2.Compose([v2.RandomCrop(20, padding=2, padding_mode="reflect"), v2.ToDtype(torch.float32, scale=True),
                           v2.Normalize([0.5] * 3, [0.25] * 3)])  # fmt: skip
    val_tf = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)])

    class Pictures(Dataset):
        def __init__(self, images: Tensor, labels: Tensor, tf: v2.Compose) -> None:
            self.images, self.labels, self.tf = (images * 255).to(torch.uint8), labels, tf

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
            return self.tf(self.images[i]), self.labels[i]

    loaders = {
        "train": DataLoader(Pictures(x, y, train_tf), batch_size=24, shuffle=True),
        "val": DataLoader(Pictures(vx, vy, val_tf), batch_size=24),
    }
    model = nn.Sequential(block(3, 12), nn.MaxPool2d(2), block(12, 24), nn.MaxPool2d(2), block(24, 32),
                          nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))  # fmt: skip
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.3)
    harness.begin(model, optimizer, loss_fn=criterion)
    best, best_weights = 0.0, copy.deepcopy(model.state_dict())
    for _ in range(5):
        logged = {}
        for phase in ("train", "val"):
            model.train(phase == "train")
            loss_sum, right, count = 0.0, 0, 0
            for inputs, labels in loaders[phase]:
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    loss = criterion(outputs, labels)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                        harness.step(loss=loss, inputs=inputs, targets=labels, outputs=outputs)
                loss_sum += loss.item() * len(inputs)
                right += int((outputs.argmax(1) == labels).sum())
                count += len(inputs)
            if phase == "train":
                scheduler.step()
            logged[phase] = {"loss": loss_sum / count, "accuracy": right / count}
        harness.epoch(**logged)
        if logged["val"]["accuracy"] > best:
            best, best_weights = logged["val"]["accuracy"], copy.deepcopy(model.state_dict())
    model.load_state_dict(best_weights)
    return best


@cases.recipe("cnn", 0.85)
def vgg_with_dropout(harness: Harness, seed: int) -> float:
    """VGG with batch norm, two hidden linear layers with dropout of one half, Adam at 1e-3, bytes divided by 255."""
    model = nn.Sequential(
        block(3, 16), block(16, 16), nn.MaxPool2d(2), block(16, 32), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(800, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 5),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), textures(), epochs=12, drop_last=True)


@cases.recipe("cnn", 0.85)
def keras_habits(harness: Harness, seed: int) -> float:
    """Ported from Keras: Glorot weights, zero biases, RMSprop at 1e-3, no batch norm, dropout of a quarter."""
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.25), nn.Linear(64, 10),
    )  # fmt: skip
    for layer in model:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.9, eps=1e-7)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), digits(), epochs=8, tell="float")


@cases.recipe("cnn", 0.85)
def one_cycle_and_smoothing(harness: Harness, seed: int) -> float:
    """OneCycleLR by step up to 0.01 with AdamW, label smoothing of 0.1, clip at 1, bfloat16 autocast."""
    model = resnet(5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=6 * 17)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.1)
    return course(
        harness,
        model,
        optimizer,
        loss_fn,
        textures(),
        epochs=6,
        scheduler=scheduler,
        each_step=True,
        clip=1.0,
        cast=True,
    )


@cases.recipe("cnn", 0.85)
def pretrained_trunk_at_two_rates(harness: Harness, seed: int) -> float:
    """A trunk trained on signs is tuned to textures with a new head; the trunk has a tenth of the head's rate."""
    trunk = nn.Sequential(block(3, 16), nn.MaxPool2d(2), block(16, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    old = nn.Sequential(trunk, nn.Linear(32, 4))
    x, y, _, _ = signs(count=640)
    first = torch.optim.Adam(old.parameters(), lr=3e-3)
    for _ in range(4):
        for a, b in draws(x, y, 32):
            first.zero_grad()
            F.cross_entropy(old(a), b).backward()
            first.step()
    model = nn.Sequential(trunk, nn.Linear(32, 5))
    optimizer = torch.optim.Adam([{"params": trunk.parameters(), "lr": 5e-4},
                                  {"params": model[1].parameters(), "lr": 5e-3}])  # fmt: skip
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), textures(), epochs=5, size=16, tell="it")


@cases.recipe("cnn", 0.8)
def rare_class_weighed(harness: Harness, seed: int) -> float:
    """A quarter as many discs as other forms; cross-entropy weighed by inverse share; cosine; balanced score."""
    x, y, vx, vy = signs(count=900)
    keep = (y != 3) | (torch.arange(len(y)) % 4 == 0)
    x, y = x[keep], y[keep]
    weight = len(y) / (4 * torch.bincount(y).float())

    def balanced(out: Tensor, goal: Tensor) -> float:
        right = out.argmax(1) == goal
        return float(torch.stack([right[goal == k].float().mean() for k in range(4)]).mean())

    model = nn.Sequential(block(3, 16), block(16, 24, 2), block(24, 32, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                          nn.Linear(32, 4))  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    loss_fn = nn.CrossEntropyLoss(weight=weight)
    return course(
        harness,
        model,
        optimizer,
        loss_fn,
        (x, y, vx, vy),
        epochs=8,
        score=balanced,
        scheduler=scheduler,
        key="balanced_accuracy",
    )


@cases.recipe("cnn", 0.9)
def stripes_or_not(harness: Harness, seed: int) -> float:
    """Cats-and-dogs style: two classes, one logit of shape (N, 1), float targets of shape (N, 1), Adam at 1e-3."""
    x, y, vx, vy = textures()
    split = (x, (y < 3).float()[:, None], vx, (vy < 3).float()[:, None])
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(288, 32), nn.ReLU(), nn.Linear(32, 1),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def right(out: Tensor, goal: Tensor) -> float:
        return float(((out > 0).float() == goal).float().mean())

    return course(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), split, epochs=10, size=20, score=right, clear_last=True
    )


@cases.recipe("cnn", 0.85)
def accumulated_and_autocast(harness: Harness, seed: int) -> float:
    """Company code: bfloat16 autocast, gradients of two batches added (loss halved), AdamW, warm-up by LambdaLR."""
    x, y, vx, vy = textures()
    model = nn.Sequential(block(3, 16, 2), block(16, 32), block(32, 32, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                          nn.Linear(32, 5))  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / 20))
    loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True, drop_last=True)
    harness.begin(model, optimizer)
    for _ in range(7):
        model.train()
        loss_of_step = 0.0
        for i, (a, b) in enumerate(loader):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(model(a), b) / 2
            loss.backward()
            loss_of_step += loss.item()
            if i % 2 == 1:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                scheduler.step()
                harness.step(loss=loss_of_step)
                loss_of_step = 0.0
        optimizer.zero_grad(set_to_none=True)
        model.eval()
        with torch.inference_mode():
            out = model(vx)
        harness.epoch(val={"loss": F.cross_entropy(out, vy).item(), "accuracy": accuracy(out, vy)})
    return accuracy(out, vy)


@cases.recipe("cnn", 0.85)
def resumed_from_a_checkpoint(harness: Harness, seed: int) -> float:
    """Two epochs were trained yesterday; weights, optimizer and schedule are loaded and four more follow."""

    def make() -> tuple[nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        net = nn.Sequential(block(3, 16), nn.MaxPool2d(2), block(16, 32), nn.MaxPool2d(2), nn.Flatten(),
                            nn.Linear(800, 5))  # fmt: skip
        opt = torch.optim.SGD(net.parameters(), lr=0.003, momentum=0.9, weight_decay=1e-4)
        return net, opt, torch.optim.lr_scheduler.MultiStepLR(opt, [3, 5], gamma=0.2)

    split = textures()
    model, optimizer, scheduler = make()
    for _ in range(2):
        for a, b in draws(split[0], split[1], 32):
            optimizer.zero_grad()
            F.cross_entropy(model(a), b).backward()
            optimizer.step()
        scheduler.step()
    state = copy.deepcopy({"model": model.state_dict(), "opt": optimizer.state_dict(), "sched": scheduler.state_dict()})
    model, optimizer, scheduler = make()
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["opt"])
    scheduler.load_state_dict(state["sched"])
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=4, scheduler=scheduler, tell="i")


@cases.recipe("transformer", 0.8)
def vision_transformer_from_scratch(harness: Harness, seed: int) -> float:
    """A tutorial's ViT: patches of 4 by a strided convolution, class token, two pre-norm layers, Adam at 1e-3."""

    class ViT(nn.Module):
        def __init__(self, dim: int = 48) -> None:
            super().__init__()
            self.patch = nn.Conv2d(3, dim, 4, 4)
            self.cls, self.pos = nn.Parameter(torch.zeros(1, 1, dim)), nn.Parameter(torch.randn(1, 26, dim) * 0.02)
            layer = nn.TransformerEncoderLayer(dim, 4, 96, 0.1, "gelu", batch_first=True, norm_first=True)
            self.body = nn.TransformerEncoder(layer, 2, nn.LayerNorm(dim), enable_nested_tensor=False)
            self.head = nn.Linear(dim, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
            return self.head(self.body(x)[:, 0])

    x, y, vx, vy = textures(900)
    model = ViT()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    split = ((x - 0.5) / 0.25, y, (vx - 0.5) / 0.25, vy)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=6)
