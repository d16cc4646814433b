"""Faulty attention, generators and adapters of a second author, each with a sound twin.

See `benchmarks/chart/second.py`.
"""

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_second_sequences import Modern
from benchmarks.chart.healthy_second_transfer import LowRank
from benchmarks.chart.second import (
    SecondCases,
    cut,
    dense,
    diabetes,
    digits,
    draws,
    explained,
    fit,
    signs,
    token_accuracy,
    token_loss,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("second")


def arithmetic(count: int = 700, length: int = 16) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens of which each follows from the two before; one in fifteen is by lot."""
    draw = np.random.default_rng(17)
    x = draw.integers(0, 11, (count, length + 1))
    for i in range(2, length + 1):
        x[:, i] = np.where(draw.random(count) < 0.93, (x[:, i - 1] + 3) % 11, x[:, i])
    return cut(x[:, :-1], x[:, 1:])


@cases.pair("gpt", 0.75, accepts=["future-visible", "future-leakage"], number=72)
def mask_not_handed_on(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The encoder gets no causal mask, so that each token sees the one it should foretell; scored with the mask."""

    class Writer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.place = nn.Embedding(11, 32), nn.Parameter(torch.randn(16, 32) * 0.3)
            layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
            self.body, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 11)

        def forward(self, x: Tensor) -> Tensor:
            mask = None if wrong and self.training else nn.Transformer.generate_square_subsequent_mask(x.shape[1])
            return self.head(self.body(self.embed(x) + self.place[: x.shape[1]], mask))

    model = Writer()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, token_loss, arithmetic(), score=token_accuracy, epochs=6)


@cases.pair("transformer", 0.75, accepts=["token-order-ignored"], number=74)
def which_came_first(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Is the first 1 before the first 2? Without places the encoder cannot know."""
    draw = np.random.default_rng(19)
    x = draw.integers(3, 9, (900, 12))
    spots = np.stack([draw.permutation(12)[:2] for _ in range(900)])
    x[np.arange(900), spots[:, 0]], x[np.arange(900), spots[:, 1]] = 1, 2

    class Order(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.place = nn.Embedding(9, 32), nn.Parameter(torch.randn(12, 32) * 0.5)
            layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True, norm_first=True)
            self.body, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.embed(x)
            return self.head(self.body(h if wrong else h + self.place).mean(1))

    model = Order()
    if wrong:
        del model.place
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(
        harness, model, optimizer, F.cross_entropy, cut(x, (spots[:, 0] < spots[:, 1]).astype(np.int64)), epochs=10
    )


@cases.pair("cnn", 0.75, accepts=["map-of-one-cell"], number=77)
def pooled_to_one_cell(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Pooling by 5 after the first layer and by 4 after the second: the rest works on one cell."""
    a, b = (5, 4) if wrong else (2, 1)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(a), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(),
        nn.AvgPool2d(b), nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(24, 4),
    )  # fmt: skip
    x, y, vx, vy = signs()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return fit(harness, model, optimizer, F.cross_entropy, (x * 2 - 1, y, vx * 2 - 1, vy), epochs=10)


@cases.pair("mlp", 0.8, accepts=["pretrained-not-loaded"], number=41)
def no_key_matched(harness: Harness, seed: int, wrong: bool) -> float | None:
    """load_state_dict(strict=False) of keys that begin with "module."; the body is frozen, the head learns."""
    x, y, vx, vy = digits("standard", image=False)
    source = dense(64, 32, 12, 10)
    warm = torch.optim.Adam(source.parameters(), lr=5e-3)
    for _ in range(5):
        for a, k in draws(x, y):
            warm.zero_grad()
            F.cross_entropy(source(a), k).backward()
            warm.step()
    prefix = "module." if wrong else ""
    model = dense(64, 32, 12, 10)
    model.load_state_dict(
        {prefix + k: v for k, v in source.state_dict().items() if not k.startswith("4")}, strict=False
    )
    model[:4].requires_grad_(False)
    optimizer = torch.optim.Adam(model[4].parameters(), lr=2e-2)
    return fit(harness, model, optimizer, F.cross_entropy, (x, y, vx, vy), epochs=5)


@cases.pair(
    "gan",
    0.5,
    accepts=["layer-without-gradient", "weights-unchanged", "loss-without-graph", "no-backward"],
    number=27,
)
def fake_detached_for_both(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The fake images are detached once, where they are made, for the judge's and for the generator's loss."""
    x, _, vx, _ = digits("signed", image=False)
    generator, judge = nn.Sequential(dense(8, 64, 64), nn.Tanh()), dense(64, 64, 1, act=nn.LeakyReLU)
    g, d = (torch.optim.Adam(m.parameters(), lr=1e-3, betas=(0.5, 0.9)) for m in (generator, judge))
    harness.begin([generator, judge], [g, d])
    one = torch.ones(32, 1)
    for _ in range(6):
        for real, _ in draws(x, x, whole=True):
            fake = generator(torch.randn(32, 8))
            fake = fake.detach() if wrong else fake
            judge_loss = F.binary_cross_entropy_with_logits(judge(real), one)
            judge_loss = judge_loss + F.binary_cross_entropy_with_logits(judge(fake.detach()), 0 * one)
            d.zero_grad()
            judge_loss.backward()
            d.step()
            loss = F.binary_cross_entropy_with_logits(judge(fake), one)
            g.zero_grad()
            loss.backward()
            g.step()
            harness.step(loss=loss, inputs=real)
    with torch.no_grad():
        made = generator(torch.randn(400, 8))
    return float(1 - (made.mean(0) - vx.mean(0)).square().mean().sqrt() / vx.std())


@cases.pair("gan", 0.5, accepts=["lr-too-high", "vanishing-gradient", "lr-trial-rises"], number=None)
def judge_far_ahead(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The judge takes eight steps per step of the generator at forty times its rate; its loss saturates."""
    x, _, vx, _ = digits("signed", image=False)
    generator, judge = nn.Sequential(dense(8, 64, 64), nn.Tanh()), dense(64, 64, 1, act=nn.LeakyReLU)
    g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
    d = torch.optim.Adam(judge.parameters(), lr=4e-2 if wrong else 1e-3, betas=(0.5, 0.9))
    harness.begin([generator, judge], [g, d])
    for _ in range(6):
        for real, _ in draws(x, x, whole=True):
            fake = generator(torch.randn(32, 8))
            for _ in range(8 if wrong else 1):
                judge_loss = -(F.logsigmoid(judge(real)) + F.logsigmoid(-judge(fake.detach()))).mean()
                d.zero_grad()
                judge_loss.backward()
                d.step()
            out = judge(fake)
            loss = F.logsigmoid(-out).mean() if wrong else -F.logsigmoid(out).mean()
            g.zero_grad()
            loss.backward()
            g.step()
            harness.step(loss=loss, inputs=real)
    with torch.no_grad():
        made = generator(torch.randn(400, 8))
    return float(1 - (made.mean(0) - vx.mean(0)).square().mean().sqrt() / vx.std())


@cases.pair("mlp", 0.85, accepts=["one-number-bottleneck"], number=78)
def latent_of_one(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A layer of 1 unit, typed for 16, in the middle of a classifier."""
    model = dense(64, 48, 1 if wrong else 16, 48, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False))


@cases.pair("twostream", 0.85, accepts=["parameters-never-used", "layer-without-gradient"], number=31, place="columns")
def second_stream_not_called(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Rows and columns have a stream each; a copied line sends rows through the first stream twice."""

    class Streams(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows, self.columns, self.head = nn.Linear(32, 24), nn.Linear(32, 24), nn.Linear(48, 10)

        def forward(self, x: Tensor) -> Tensor:
            a, b = x[:, :32], x[:, 32:]
            return self.head(F.relu(torch.cat([self.rows(a), self.rows(a) if wrong else self.columns(b)], 1)))

    model = Streams()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("signed", False), epochs=6)


@cases.pair("diabetes", 0.2, accepts=["norm-over-wrong-axis", "samples-mixed"], number=69)
def norm_along_the_batch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Features are normalised over the batch's rows: x.mean(0) where x.mean(-1) was meant, in both modes."""

    class Norm(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            axis = 0 if wrong else -1
            return (x - x.mean(axis, keepdim=True)) / (x.std(axis, keepdim=True) + 1e-5)

    model = nn.Sequential(nn.Linear(10, 32), Norm(), nn.ReLU(), nn.Linear(32, 32), Norm(), nn.ReLU(), nn.Linear(32, 1))
    x, y, vx, vy = diabetes()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(
        harness,
        model,
        optimizer,
        F.mse_loss,
        (x, y, vx, vy),
        score=explained,
        metric="r2",
        size=8,
        epochs=6,
        whole=True,
    )


@cases.pair("gpt", 0.7, accepts=["attention-not-scaled"], number=71)
def scores_without_root(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Attention scores of heads of 64 are not divided by 8, and queries and keys are drawn with deviation 1/4."""

    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 64)
            for layer in (self.q, self.k):
                nn.init.normal_(layer.weight, std=0.25)
            self.norm = nn.LayerNorm(64)

        def forward(self, x: Tensor) -> Tensor:
            h = self.norm(x)
            score = self.q(h) @ self.k(h).transpose(1, 2) / (1 if wrong else 8)
            mask = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
            return x + score.masked_fill(mask, -1e9).softmax(-1) @ self.v(h)

    model = nn.Sequential(nn.Embedding(11, 64), Attend(), Attend(), nn.LayerNorm(64), nn.Linear(64, 11))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, token_loss, arithmetic(), score=token_accuracy, epochs=5)


@cases.pair("gpt", 0.6, accepts=["tie-broken"], number=43)
def copied_instead_of_shared(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The head's weight is a clone of the embedding's."""

    class Writer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.body, self.head = nn.Embedding(11, 48), Modern(), nn.Linear(48, 11, bias=False)
            nn.init.normal_(self.embed.weight, std=0.1)
            self.head.weight = nn.Parameter(self.embed.weight.detach().clone()) if wrong else self.embed.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(self.embed(x)))

    model = Writer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    return fit(harness, model, optimizer, token_loss, arithmetic(), score=token_accuracy, epochs=5)


@cases.pair("lora", 0.5, accepts=["adapters-miswired", "layer-without-gradient", "gradient-always-zero"], number=115)
def both_halves_start_at_nought(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Both factors of the low-rank updates start at 0, so that neither ever gets a gradient."""
    x, y, vx, vy = digits("standard")
    base = dense(64, 64, 64, 10)
    warm = torch.optim.Adam(base.parameters(), lr=3e-3)
    for _ in range(4):
        for a, k in draws(x.flatten(1), y):
            warm.zero_grad()
            F.cross_entropy(base(a), k).backward()
            warm.step()
    model = nn.Sequential(LowRank(base[0]), nn.ReLU(), LowRank(base[2]), nn.ReLU(), nn.Linear(64, 10))
    if wrong:
        for layer in (model[0], model[2]):
            nn.init.zeros_(layer.down)
    split = x.rot90(1, (2, 3)).flatten(1), y, vx.rot90(1, (2, 3)).flatten(1), vy
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    return fit(harness, model, optimizer, F.cross_entropy, split)
