"""Metric and self-supervised learning, by a sixth author, without any threshold. See `healthy_sixth.py`."""

import copy

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_sixth import block, course, iterate, pick, textures, tones
from benchmarks.chart.second import SecondCases, accuracy, dense, digits, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("sixth")


def nearest(model: nn.Module, x: Tensor, y: Tensor, vx: Tensor, vy: Tensor) -> float:
    """Accuracy of the five nearest training rows by cosine."""
    model.eval()
    with torch.no_grad():
        a, b = (F.normalize(model(part).flatten(1)) for part in (x, vx))
    votes = F.one_hot(y[(b @ a.T).topk(5).indices]).sum(1)
    return accuracy(votes.float(), vy)


def probe(model: nn.Module, x: Tensor, y: Tensor, vx: Tensor, vy: Tensor) -> float:
    """Accuracy of a linear layer on frozen features."""
    model.eval()
    with torch.no_grad():
        a, b = model(x).flatten(1), model(vx).flatten(1)
    mean, std = a.mean(0), a.std(0) + 1e-5
    a, b = (a - mean) / std, (b - mean) / std
    head = nn.Linear(a.shape[1], int(y.max()) + 1)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02, weight_decay=1e-3)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(head(a), y).backward()
        optimizer.step()
    return accuracy(head(b), vy)


def shifted(x: Tensor) -> Tensor:
    """Moved by up to a pixel, other brightness and contrast, noise."""
    move = torch.randint(-1, 2, (2,)).tolist()
    gain, lift = 0.7 + 0.6 * torch.rand(len(x), 1, 1, 1), 0.2 * torch.rand(len(x), 1, 1, 1) - 0.1
    return x.roll(move, (2, 3)) * gain + lift + 0.05 * torch.randn_like(x)


@cases.recipe("embedding", 0.85)
def twins_with_margin(harness: Harness, seed: int) -> float:
    """A siamese network on pairs, half of them alike: squared distance, or hinge below a margin of 1; Adam at 1e-3."""
    x, y, vx, vy = digits()
    model = nn.Sequential(block(1, 16), nn.MaxPool2d(2), block(16, 32), nn.Flatten(), nn.Linear(512, 16))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def compute(i: int) -> dict[str, object]:
        a, ya = pick(32, x, y)
        other = torch.randint(10, (32,))
        wanted = torch.where(torch.rand(32) < 0.5, ya, other)
        rows = torch.stack([(y == k).nonzero()[:, 0][torch.randint(int((y == k).sum()), ())] for k in wanted])
        b, same = x[rows], (wanted == ya).float()
        gap = F.pairwise_distance(model(a), model(b))
        loss = (same * gap.square() + (1 - same) * F.relu(1 - gap).square()).mean()
        return {"loss": loss, "inputs": (a, b), "targets": same, "outputs": gap}

    iterate(harness, model, optimizer, compute, 220)
    return nearest(model, x, y, vx, vy)


@cases.recipe("embedding", 0.85)
def semi_hard_triplets(harness: Harness, seed: int) -> float:
    """FaceNet: within a batch of 8 x 6, for each pair alike a negative that is further but within the margin of 0.2."""
    x, y, vx, vy = digits()
    by_class = [(y == k).nonzero()[:, 0] for k in range(10)]
    model = nn.Sequential(block(1, 16), block(16, 32, 2), nn.Flatten(), nn.Linear(512, 24))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    label = torch.arange(8).repeat_interleave(6)

    def compute(i: int) -> Tensor:
        kinds = torch.randperm(10)[:8].tolist()
        rows = torch.cat([by_class[k][torch.randperm(len(by_class[k]))[:6]] for k in kinds])
        gap = torch.cdist(*[F.normalize(model(x[rows]))] * 2).square()
        same = label[:, None] == label
        a, p = (same & ~torch.eye(48, dtype=torch.bool)).nonzero().T
        near = gap[a, p]
        others = gap[a].masked_fill(same[a], 9.0)
        semi = others.masked_fill(others <= near[:, None].detach(), 9.0).amin(1)
        negative = torch.where(semi < 9, semi, others.masked_fill(others > 8.9, -1.0).amax(1))
        return F.relu(near - negative + 0.2).mean()

    iterate(harness, model, optimizer, compute, 160)
    return nearest(model, x, y, vx, vy)


@cases.recipe("selfsupervised", 0.6)
def views_of_textures_attract(harness: Harness, seed: int) -> float:
    """SimCLR on textures: crops and colours, projection head, temperature 0.2, batches of 48, scored by a probe."""
    x, y, vx, vy = textures(900)
    body = nn.Sequential(block(3, 16, 2), block(16, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.Sequential(body, dense(32, 32, 16))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def view(a: Tensor) -> Tensor:
        r, c = torch.randint(5, (2,)).tolist()
        a = a[:, :, r : r + 16, c : c + 16]
        return a * (0.7 + 0.6 * torch.rand(len(a), 3, 1, 1)) + 0.2 * torch.rand(len(a), 3, 1, 1) - 0.1

    def compute(i: int) -> dict[str, Tensor]:
        (a,) = pick(48, x)
        z = F.normalize(model(torch.cat([view(a), view(a)])))
        logits = (z @ z.T / 0.2).fill_diagonal_(-1e9)
        return {"loss": F.cross_entropy(logits, torch.arange(96).roll(48)), "inputs": a}

    iterate(harness, model, optimizer, compute, 200)
    return probe(body, x, y, vx, vy)


@cases.recipe("selfsupervised", 0.75)
def neither_negatives_nor_averages(harness: Harness, seed: int) -> float:
    """SimSiam: one branch has a predictor, the other no gradient; the loss goes from 0 towards -1; SGD and cosine."""
    x, y, vx, vy = digits()
    body = nn.Sequential(block(1, 24), block(24, 48, 2), nn.Flatten())
    head = nn.Sequential(nn.Linear(768, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32),
                         nn.BatchNorm1d(32, affine=False))  # fmt: skip
    guess = nn.Sequential(nn.Linear(32, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 32))
    model = nn.ModuleList([body, head, guess])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 180)

    def compute(i: int) -> Tensor:
        (a,) = pick(64, x)
        z1, z2 = head(body(shifted(a))), head(body(shifted(a)))
        p1, p2 = guess(z1), guess(z2)
        return -0.5 * (F.cosine_similarity(p1, z2.detach()) + F.cosine_similarity(p2, z1.detach())).mean()

    iterate(harness, model, optimizer, compute, 180, scheduler=scheduler)
    return nearest(body, x, y, vx, vy)


@cases.recipe("selfsupervised", 0.8)
def turned_by_quarters(harness: Harness, seed: int) -> float:
    """Pretext: which of four quarter turns a digit has been given; the accuracy of the pretext is what is logged."""
    x, _, vx, _ = digits("signed")

    def turned(a: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([a.rot90(k, (2, 3)) for k in range(4)]), torch.arange(4).repeat_interleave(len(a))

    (a, b), (va, vb) = turned(x), turned(vx)
    model = nn.Sequential(block(1, 16), block(16, 32, 2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(512, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-3)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), (a, b, va, vb), epochs=3, size=64, tell="it")


@cases.recipe("selfsupervised", 0.65)
def patches_are_restored(harness: Harness, seed: int) -> float:
    """Masked waves: a third of 32 frames of each sound is set to a learned token, a transformer restores them, L1."""
    x, y, vx, vy = tones(900)

    def frames(a: Tensor) -> Tensor:
        spectrum = torch.stft(a, 32, 16, window=torch.hann_window(32), return_complex=True).abs()[:, :, :32]
        return (spectrum.transpose(1, 2) + 0.05).log()

    a, va = frames(x), frames(vx)
    mean, std = a.mean((0, 1)), a.std((0, 1))
    a, va = (a - mean) / std, (va - mean) / std

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.token = nn.Linear(17, 32), nn.Parameter(torch.zeros(32))
            self.place = nn.Parameter(0.02 * torch.randn(32, 32))
            layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True)
            self.body, self.out = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 17)

        def forward(self, a: Tensor, mask: Tensor) -> Tensor:
            h = torch.where(mask[..., None], self.token, self.into(a)) + self.place
            return self.out(self.body(h))

        def features(self, a: Tensor) -> Tensor:
            return self.body(self.into(a) + self.place).mean(1)

    model = Masked()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

    def compute(i: int) -> Tensor:
        (b,) = pick(24, a)
        mask = torch.rand(24, 32) < 0.33
        return (model(b, mask) - b)[mask].abs().mean()

    iterate(harness, model, optimizer, compute, 180, clip=1.0)

    class Features(nn.Module):
        def forward(self, b: Tensor) -> Tensor:
            return model.features(b)

    return probe(Features(), a, y, va, vy)


@cases.recipe("embedding", 0.85)
def classes_have_weights_on_a_sphere(harness: Harness, seed: int) -> float:
    """Normalised features and class weights, cosine times a scale that learns, no margin; SGD with weight decay."""

    class Cosine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(block(3, 16, 2), block(16, 32, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.weight, self.scale = nn.Parameter(torch.randn(4, 32)), nn.Parameter(torch.tensor(8.0))

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * F.linear(F.normalize(self.body(x)), F.normalize(self.weight))

    model = Cosine()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), signs(count=800), epochs=8, size=24, tell="")


@cases.recipe("embedding", 0.8)
def slow_twin_leads(harness: Harness, seed: int) -> float:
    """Mean teacher with 150 labels of 1050: cross-entropy plus squared distance to a slow copy's answers, ramped up."""
    x, y, vx, vy = digits()
    known = torch.arange(150)
    model = nn.Sequential(block(1, 16), block(16, 32, 2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(512, 10))
    slow = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def compute(i: int) -> dict[str, Tensor]:
        a, b = pick(16, x[known], y[known])
        (c,) = pick(48, x)
        out = model(torch.cat([shifted(a), shifted(c)]))
        with torch.no_grad():
            goal = slow(shifted(c)).softmax(1)
        same = (out[16:].softmax(1) - goal).square().sum(1).mean()
        loss = F.cross_entropy(out[:16], b) + min(1.0, i / 100) * same
        return {"loss": loss, "inputs": a, "targets": b, "outputs": out[:16]}

    def follow(i: int) -> None:
        with torch.no_grad():
            for p, q in zip(slow.state_dict().values(), model.state_dict().values(), strict=True):
                p.copy_(q) if not p.is_floating_point() else p.lerp_(q, 0.03)

    iterate(harness, model, optimizer, compute, 300, after=follow)
    return accuracy(slow.eval()(vx), vy)
