"""Words, captions, clips and preferences, by a fourth author, without any threshold. See `healthy_fourth.py`."""

from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, school, some
from benchmarks.chart.second import (
    SecondCases,
    accuracy,
    binary_accuracy,
    dense,
    explained,
    prose,
    signs,
)
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


@cases.recipe("words", 0.6)
def counts_of_neighbours(harness: Harness, seed: int) -> float:
    """GloVe: weighted squares of log counts of letters at most two apart in English, Adagrad at 0.05, whole table."""
    text, letters = prose()
    count = torch.zeros(letters, letters)
    for gap in (1, 2):
        count.index_put_((text[:-gap], text[gap:]), torch.tensor(1.0 / gap), accumulate=True)
    i, j = count.nonzero().T
    logs, weight = count[i, j].log(), (count[i, j] / 50).clamp(max=1) ** 0.75

    class Glove(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.c = nn.Embedding(letters, 12), nn.Embedding(letters, 12)
            self.wb, self.cb = nn.Embedding(letters, 1), nn.Embedding(letters, 1)
            for table in self.children():
                nn.init.uniform_(table.weight, -0.3, 0.3)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return (self.w(a) * self.c(b)).sum(1) + self.wb(a)[:, 0] + self.cb(b)[:, 0]

    model = Glove()
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1)
    march(harness, model, optimizer, lambda _: (weight * (model(i, j) - logs).square()).mean(), 300)
    return explained(model(i, j), logs)


@cases.recipe("clip", 0.6)
def captions_meet_images(harness: Harness, seed: int) -> float:
    """CLIP: images of signs and captions of two words (form, corner), both losses, a learned temperature."""
    x, kind, vx, vkind = signs()
    _, at, _, vat = signs("middles")

    def caption(kind: Tensor, at: Tensor) -> Tensor:
        return torch.stack([kind, 4 + (at[:, 0] > 10).long() + 2 * (at[:, 1] > 10).long()], 1)

    words, vwords = caption(kind, at), caption(vkind, vat)

    class Clip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.eye = nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(),
                nn.Linear(800, 32),
            )  # fmt: skip
            self.reader = nn.Sequential(nn.Embedding(8, 16), nn.Flatten(), nn.Linear(32, 32))
            self.scale = nn.Parameter(torch.tensor(float(np.log(1 / 0.07))))

        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            a, b = F.normalize(self.eye(image), dim=1), F.normalize(self.reader(text), dim=1)
            return self.scale.exp().clamp(max=100) * a @ b.T

    model = Clip()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)

    def compute(i: int) -> Any:
        a, b = some(24, x, words)
        out, goal = model(a, b), torch.arange(24)
        return {"loss": (F.cross_entropy(out, goal) + F.cross_entropy(out.T, goal)) / 2, "inputs": (a, b)}

    march(harness, model, optimizer, compute, 200)
    every = torch.cartesian_prod(torch.arange(4), torch.arange(4, 8))
    with torch.no_grad():
        return accuracy(model(vx, every), vwords[:, 0] * 4 + vwords[:, 1] - 4)


@cases.recipe("electra", 0.75)
def which_tokens_were_replaced(harness: Harness, seed: int) -> float:
    """ELECTRA: a small generator fills masked numbers, a discriminator tells which are not original; losses 1 : 20."""
    letters = 13
    a, b = torch.cartesian_prod(torch.arange(13), torch.arange(1, 7)).T
    lines = (a[:, None] + b[:, None] * torch.arange(16)) % 13
    lines = lines[torch.randperm(78, generator=torch.Generator().manual_seed(13))]
    x, vx = lines[:58], lines[58:]

    class Along(nn.Module):
        def __init__(self, width: int, out: int) -> None:
            super().__init__()
            self.table = nn.Embedding(letters + 1, width)
            self.a, self.b = nn.Conv1d(width, width, 5, padding=2), nn.Conv1d(width, width, 5, padding=2)
            self.out = nn.Linear(width, out)

        def forward(self, t: Tensor) -> Tensor:
            return self.out(self.b(self.a(self.table(t).mT).relu()).relu().mT)

    maker, judge = Along(12, letters), Along(48, 1)
    optimizer = torch.optim.AdamW([*maker.parameters(), *judge.parameters()], lr=5e-3)

    def both(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = torch.rand(t.shape) < 0.15
        logits = maker(t.masked_fill(hidden, letters))
        drawn = torch.distributions.Categorical(logits=logits.detach()).sample()
        mixed = torch.where(hidden, drawn, t)
        return F.cross_entropy(logits[hidden], t[hidden]), judge(mixed)[..., 0], (mixed != t).float()

    def compute(i: int) -> Tensor:
        (t,) = some(24, x)
        lm, out, fake = both(t)
        return lm + 20 * F.binary_cross_entropy_with_logits(out, fake)

    march(harness, [maker, judge], optimizer, compute, 200)
    with torch.no_grad():
        _, out, fake = both(vx.repeat(8, 1))
    return float(roc_auc_score(fake.flatten(), out.flatten()))


@cases.recipe("video", 0.85)
def where_does_the_dot_go(harness: Harness, seed: int) -> float:
    """Clips of five frames of a moving dot: shared convolutions per frame, a GRU over time, eight directions."""
    draw = torch.Generator().manual_seed(9)
    kind = torch.randint(0, 8, (700,), generator=draw)
    angle = kind * torch.pi / 4
    start = 4 + 4 * torch.rand(700, 2, generator=draw)
    at = start[:, None] + torch.arange(5)[None, :, None] * torch.stack([angle.cos(), angle.sin()], 1)[:, None]
    grid = torch.arange(12.0)
    clips = (-((grid - at[..., :1, None]) ** 2 + (grid[:, None] - at[..., 1:, None]) ** 2) / 1.5).exp()
    clips = clips + 0.1 * torch.randn(clips.shape, generator=draw)

    class Watcher(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.eye = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(288, 24), nn.ReLU())
            self.gru, self.head = nn.GRU(24, 32, batch_first=True), nn.Linear(32, 8)

        def forward(self, x: Tensor) -> Tensor:
            h = self.eye(x.flatten(0, 1)[:, None]).view(len(x), 5, 24)
            return self.head(self.gru(h)[1][-1])

    model = Watcher()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    split = clips[:550], kind[:550], clips[550:], kind[550:]
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=10, size=25, percent=True)


@cases.recipe("preference", 0.75)
def preferred_without_a_reward(harness: Harness, seed: int) -> float:
    """DPO: pairs of lines, the one with more vowels is preferred; a frozen copy is the reference, beta 0.5."""
    draw = torch.Generator().manual_seed(10)
    pairs = torch.randint(0, 12, (500, 2, 8), generator=draw)
    good = (pairs < 4).sum(2)
    pairs = pairs[good[:, 0] != good[:, 1]]
    good = (pairs < 4).sum(2)
    first = good[:, 0] > good[:, 1]
    win = torch.where(first[:, None], pairs[:, 0], pairs[:, 1])
    lose = torch.where(first[:, None], pairs[:, 1], pairs[:, 0])

    class Writer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.gru, self.head = nn.Embedding(13, 16), nn.GRU(16, 24, batch_first=True), nn.Linear(24, 12)

        def forward(self, t: Tensor) -> Tensor:
            h = self.gru(self.table(F.pad(t[:, :-1], (1, 0), value=12)))[0]
            return self.head(h).log_softmax(2).gather(2, t[..., None]).sum((1, 2))

    policy, reference = Writer(), Writer()
    reference.load_state_dict(policy.state_dict())
    reference.requires_grad_(False)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=2e-3)

    def margin(a: Tensor, b: Tensor) -> Tensor:
        return 0.5 * (policy(a) - reference(a) - policy(b) + reference(b))

    def compute(i: int) -> Tensor:
        a, b = some(32, win[:300], lose[:300])
        return -F.logsigmoid(margin(a, b)).mean()

    march(harness, policy, optimizer, compute, 150)
    with torch.no_grad():
        return float((margin(win[300:], lose[300:]) > 0).float().mean())


@cases.recipe("sequence", 0.85)
def peaks_are_marked(harness: Harness, seed: int) -> float:
    """Beats in a noisy trace: one logit per time, positives weighed 6, a dilated convolution; area under the curve."""
    draw = torch.Generator().manual_seed(11)
    beat = (torch.rand(300, 1, 64, generator=draw) < 0.06).float()
    shape = torch.tensor([-0.3, 1.0, -0.6, 0.25, 0.1])[None, None]
    trace = F.conv1d(beat, shape.flip(2), padding=2) + 0.25 * torch.randn(300, 1, 64, generator=draw)
    wander = (torch.arange(64) * 0.1 + 6.28 * torch.rand(300, 1, 1, generator=draw)).sin()
    x, y = trace + 0.5 * wander, beat.squeeze(1)
    model = nn.Sequential(
        nn.Conv1d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv1d(16, 16, 5, padding=4, dilation=2), nn.ReLU(),
        nn.Conv1d(16, 1, 1), nn.Flatten(),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    loss_fn = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(6.0))
    return school(
        harness, model, optimizer, loss_fn, (x[:240], y[:240], x[240:], y[240:]), epochs=8, size=12, key="auc",
        score=lambda o, t: float(roc_auc_score(t.flatten(), o.flatten())),
    )  # fmt: skip


@cases.recipe("reward", 0.8)
def rewards_from_comparisons(harness: Harness, seed: int) -> float:
    """A reward model by Bradley and Terry: -log sigmoid of the difference, so its last bias can never matter."""
    draw = torch.Generator().manual_seed(12)
    a, b = torch.randn(2, 600, 6, generator=draw)

    def worth(x: Tensor) -> Tensor:
        return x[:, 0] - 0.5 * x[:, 1] ** 2 + x[:, 2] * x[:, 3]

    first = worth(a) > worth(b)
    win, lose = torch.where(first[:, None], a, b), torch.where(first[:, None], b, a)
    model = dense(6, 48, 48, 1, act=nn.SiLU)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)

    def compute(i: int) -> Any:
        w, l = some(40, win[:480], lose[:480])  # noqa: E741
        return {"loss": -F.logsigmoid(model(w) - model(l)).mean(), "inputs": (w, l)}

    march(harness, model, optimizer, compute, 300)
    return binary_accuracy(model(win[480:]) - model(lose[480:]), torch.ones(120))
