"""Something learned before is used again, by a fifth author, without any threshold. See `healthy_fifth.py`."""

import copy
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fifth import course, fabrics, flipped, normal, pick
from benchmarks.chart.healthy_fifth_images import unit
from benchmarks.chart.second import SecondCases, Split, accuracy, dense, digits, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = SecondCases("fifth")


def body(width: int = 16) -> nn.Sequential:
    """Three convolutions with batch norm and a global average: a vector of 3 * width."""
    return nn.Sequential(
        unit(3, width), nn.MaxPool2d(2), unit(width, 2 * width), nn.MaxPool2d(2), unit(2 * width, 3 * width),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def pretrained(steps: int = 90) -> nn.Sequential:
    """A body that has learned weaves, in train mode."""
    x, y, _, _ = normal(fabrics())
    backbone = body()
    model = nn.Sequential(backbone, nn.Linear(48, 5))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        a, b = pick(32, x, y)
        optimizer.zero_grad()
        F.cross_entropy(model(a), b).backward()
        optimizer.step()
    return backbone


def new_task(count: int = 480) -> Split:
    """Images of signs, normalised."""
    return normal(signs(count=count))


@cases.recipe("transfer", 0.7)
def one_rate_for_all_and_a_new_head(harness: Harness, seed: int) -> float:
    """The tutorial of fine-tuning: the last layer is replaced, SGD at 0.01 with momentum, StepLR, best weights kept."""
    model = nn.Sequential(pretrained(), nn.Linear(48, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), new_task(), epochs=14, size=16, scheduler=scheduler,
        augment=flipped, train_metric=True, best=True,
    )  # fmt: skip


@cases.recipe("transfer", 0.7)
def head_ten_times_faster(harness: Harness, seed: int) -> float:
    """Two groups of parameters: the body at 1e-3, the new head at 1e-2, AdamW, cosine by batch to a small rest."""
    backbone, head = pretrained(), nn.Linear(48, 4)
    model = nn.Sequential(backbone, nn.Dropout(0.2), head)
    groups = [{"params": backbone.parameters(), "lr": 1e-3}, {"params": head.parameters(), "lr": 1e-2}]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-4)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 10 * 23, eta_min=1e-5)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), new_task(), epochs=10, size=16, scheduler=scheduler,
        when="batch", tell="loss",
    )  # fmt: skip


@cases.recipe("linear", 0.8)
def features_computed_once(harness: Harness, seed: int) -> float:
    """Features of unseen weaves by a frozen body are computed before; only a linear layer learns, SGD at 0.5."""
    backbone = pretrained(60).eval()
    x, y, vx, vy = normal(fabrics(900))
    with torch.no_grad():
        fx, fvx = backbone(x), backbone(vx)
    split = F.normalize(fx, dim=1), y, F.normalize(fvx, dim=1), vy
    model = nn.Linear(48, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=10, size=64, sanity=True)


@cases.recipe("transfer", 0.7)
def last_block_only(harness: Harness, seed: int) -> float:
    """Early layers have requires_grad False and stay in eval mode; the optimizer gets a filter of what is trained."""
    backbone = pretrained()
    for p in backbone[:4].parameters():
        p.requires_grad = False

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.fc = backbone, nn.Sequential(nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 4))

        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            self.backbone[:4].eval()
            return self

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.backbone(x))

    model = Model()
    optimizer = torch.optim.Adam(filter(lambda p: p.requires_grad, model.parameters()), lr=3e-3)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), new_task(), epochs=12, size=32, train_metric=True)


@cases.recipe("transfer", 0.7)
def first_the_head_then_one_cycle(harness: Harness, seed: int) -> float:
    """fine_tune: one epoch of the head alone, then all under one cycle with rates by depth, betas (0.9, 0.99)."""
    backbone, head = pretrained(), nn.Sequential(nn.BatchNorm1d(48), nn.Linear(48, 4))
    model = nn.Sequential(backbone, head)
    x, y, vx, vy = new_task()
    early, late = list(backbone[:3].parameters()), list(backbone[3:].parameters())
    optimizer = torch.optim.Adam(
        [{"params": early}, {"params": late}, {"params": head.parameters()}], lr=5e-3, betas=(0.9, 0.99)
    )  # fmt: skip
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)

    def epochs(count: int, scheduler: Any) -> float:
        right = 0.0
        for _ in range(count):
            model.train()
            losses = []
            for rows in torch.randperm(len(x)).split(20):
                out = model(x[rows])
                loss = F.cross_entropy(out, y[rows])
                loss.backward()
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
                losses.append(loss.item())
                harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
            model.eval()
            with torch.no_grad():
                out = model(vx)
            right = accuracy(out, vy)
            held = F.cross_entropy(out, vy).item()
            harness.epoch(train={"loss": sum(losses) / len(losses)}, val={"loss": held, "accuracy": right})
        return right

    for p in (*early, *late):
        p.requires_grad_(False)
    epochs(2, lr_scheduler.OneCycleLR(optimizer, [5e-3] * 3, total_steps=2 * 18, cycle_momentum=False))
    for p in (*early, *late):
        p.requires_grad_(True)
    rates = [5e-4, 2e-3, 5e-3]
    return epochs(9, lr_scheduler.OneCycleLR(optimizer, rates, total_steps=9 * 18, cycle_momentum=False))


@cases.recipe("transfer", 0.8)
def encoder_of_an_autoencoder(harness: Harness, seed: int) -> float:
    """An encoder of 1000 unlabelled digits is fine-tuned on 250 labelled ones, AdamW, decay 1e-3."""
    x, y, vx, vy = digits(image=False)
    enc, dec = nn.Sequential(dense(64, 96, 32), nn.ReLU()), dense(32, 96, 64)
    before = torch.optim.Adam([*enc.parameters(), *dec.parameters()], lr=2e-3)
    for _ in range(250):
        (a,) = pick(64, x)
        before.zero_grad()
        F.mse_loss(dec(enc(a)), a).backward()
        before.step()
    model = nn.Sequential(enc, nn.Linear(32, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    split = x[:250], y[:250], vx, vy
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=12, size=25)


@cases.recipe("transfer", 0.7)
def near_to_the_start(harness: Harness, seed: int) -> float:
    """L2-SP: a penalty on the distance to the pretrained weights is added to the loss; SGD, warm-up of 10 steps."""
    backbone = pretrained()
    start = copy.deepcopy(backbone).requires_grad_(False)
    model = nn.Sequential(backbone, nn.Linear(48, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    scheduler = lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, (i + 1) / 10))

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        pairs = zip(backbone.parameters(), start.parameters(), strict=True)
        return F.cross_entropy(out, goal) + 0.005 * sum((p - q).square().sum() for p, q in pairs)

    return course(
        harness, model, optimizer, loss_fn, new_task(), epochs=11, size=24, scheduler=scheduler, when="batch",
        tell="inputs",
    )  # fmt: skip


@cases.recipe("transfer", 0.75)
def larger_images_at_the_end(harness: Harness, seed: int) -> float:
    """Trained at 12 pixels before, now fine-tuned at 20 with a tenth of the rate: test and train at one resolution."""
    x, y, vx, vy = new_task(560)
    model = nn.Sequential(body(), nn.Linear(48, 4))
    before = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(110):
        a, b = pick(32, F.interpolate(x, size=12, mode="bilinear"), y)
        before.zero_grad()
        F.cross_entropy(model(a), b).backward()
        before.step()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), (x, y, vx, vy), epochs=9, size=32)


@cases.recipe("text", 0.75)
def word_vectors_are_given(harness: Harness, seed: int) -> float:
    """Word vectors from a decomposition of co-occurrences are frozen; a GRU over them finds the topic of a line."""
    draw = torch.Generator().manual_seed(61)
    topics = torch.randint(4, (900,), generator=draw)
    words = torch.randint(12, (900, 14), generator=draw) + 12 * topics[:, None]
    common = torch.rand(900, 14, generator=draw) < 0.7
    words = torch.where(common, 48 + torch.randint(20, (900, 14), generator=draw), words) + 1
    counts = torch.zeros(69, 69)
    for line in words:
        counts[line[:, None], line[None, :]] += 1
    u, s, _ = torch.linalg.svd((1 + counts).log())
    vectors = u[:, :12] * s[:12].sqrt()
    vectors = (vectors - vectors.mean(0)) / vectors.std(0)

    class Topic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding.from_pretrained(vectors, freeze=True)
            self.rnn, self.out = nn.GRU(12, 24, batch_first=True), nn.Linear(24, 4)

        def forward(self, ids: Tensor) -> Tensor:
            return self.out(self.rnn(self.embed(ids))[0].mean(1))

    model = Topic()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    split = words[:700], topics[:700], words[700:], topics[700:]
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=8, size=32, clip=5.0)


@cases.recipe("distillation", 0.75)
def matched_on_unlabelled_images(harness: Harness, seed: int) -> float:
    """A small student follows a frozen teacher's logits by squared error on images without labels, then is scored."""
    teacher = nn.Sequential(pretrained(150), nn.Linear(48, 5))
    x, y, vx, vy = normal(fabrics())
    late = torch.optim.Adam(teacher[1].parameters(), lr=1e-2)
    for _ in range(60):
        a, b = pick(64, x, y)
        late.zero_grad()
        F.cross_entropy(teacher(a), b).backward()
        late.step()
    teacher.eval().requires_grad_(False)
    student = nn.Sequential(
        unit(3, 8, 2), unit(8, 16, 2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 5)
    )  # fmt: skip
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3)
    harness.begin(student, optimizer)
    for _ in range(220):
        (a,) = pick(40, x)
        with torch.no_grad():
            wanted = teacher(a)
        out = student(a)
        loss = F.mse_loss(out, wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=a, targets=wanted, outputs=out)
    return accuracy(student.eval()(vx), vy)
