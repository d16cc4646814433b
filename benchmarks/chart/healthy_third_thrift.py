"""Small, frozen, pruned, quantised and constrained networks, by a third author, on which NO threshold is ever set.

See `healthy_third.py`.
"""

import copy

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_third import rows
from benchmarks.chart.second import SecondCases, Split, accuracy, dense, digits, fit
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

cases = SecondCases("third")


def upright() -> tuple[nn.Sequential, Split]:
    """A network that reads upright digits, and digits turned by 90 degrees, which it is to learn."""
    x, y, vx, vy = digits("unit")
    model = dense(64, 96, 96, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    flat = x.flatten(1)
    for _ in range(120):
        at = rows(x, 64)
        loss = F.cross_entropy(model(flat[at]), y[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, (x.rot90(1, (2, 3)).flatten(1), y, vx.rot90(1, (2, 3)).flatten(1), vy)


class Rounded(nn.Linear):
    """A linear layer with weights rounded to 4 bits and inputs to 8, straight through for gradients."""

    def forward(self, x: Tensor) -> Tensor:
        """As nn.Linear."""
        scale = self.weight.abs().max().detach() / 7
        weight = self.weight + ((self.weight / scale).round() * scale - self.weight).detach()
        step = x.abs().max().detach().clamp(min=1e-6) / 127
        x = x + ((x / step).round() * step - x).detach()
        return F.linear(x, weight, self.bias)


@cases.recipe("mlp", 0.85)
def rounded_to_four_bits(harness: Harness, seed: int) -> float:
    """Quantisation-aware training by hand: fake quantisation of weights and inputs, straight-through gradients."""
    model = nn.Sequential(Rounded(64, 64), nn.ReLU(), Rounded(64, 64), nn.ReLU(), Rounded(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits(image=False), epochs=8)


@cases.recipe("mlp", 0.85)
def pruned_as_it_goes(harness: Harness, seed: int) -> float:
    """torch.nn.utils.prune removes a third of what is left after every second epoch, ending near 70 % zeros."""
    x, y, vx, vy = digits("standard", image=False)
    model = dense(64, 128, 64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    layers = [(m, "weight") for m in model if isinstance(m, nn.Linear)]
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for epoch in range(7):
        model.train()
        for part in torch.randperm(len(x)).split(32):
            out = model(x[part])
            loss = F.cross_entropy(out, y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x[part], targets=y[part], outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx)
        harness.epoch(val={"loss": F.cross_entropy(out, vy).item(), "accuracy": accuracy(out, vy)})
        if epoch in (1, 3, 5):
            prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=0.33)
    return accuracy(out, vy)


@cases.recipe("mlp", 0.85)
def winning_ticket(harness: Harness, seed: int) -> float:
    """Rewound to the start and trained again under a fixed mask of the 20 % largest weights; masked after each step."""
    x, y, *_ = split = digits("standard", image=False)
    model = dense(64, 128, 10)
    start = copy.deepcopy(model.state_dict())
    first = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(120):
        at = rows(x, 48)
        loss = F.cross_entropy(model(x[at]), y[at])
        first.zero_grad()
        loss.backward()
        first.step()
    masks = [(p.abs() >= p.abs().flatten().quantile(0.8)).float() if p.ndim > 1 else torch.ones_like(p)
             for p in model.parameters()]  # fmt: skip
    model.load_state_dict(start)

    def apply() -> None:
        with torch.no_grad():
            for p, m in zip(model.parameters(), masks, strict=True):
                p.mul_(m)

    apply()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=7, after=apply)


class LowRank(nn.Module):
    """A frozen linear layer and a learned product of rank 4; one factor begins at nought."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(8, layer.in_features) / layer.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(layer.out_features, 8))

    def forward(self, x: Tensor) -> Tensor:
        """As the layer, plus the product."""
        return self.layer(x) + 2 * x @ self.a.T @ self.b.T


@cases.recipe("lora", 0.7)
def everything_by_low_rank(harness: Harness, seed: int) -> float:
    """All three layers frozen under adapters of rank 8; the optimizer gets every parameter, frozen ones included."""
    model, split = upright()
    for i in (0, 2, 4):
        model[i] = LowRank(model[i])  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=8)


@cases.recipe("adapter", 0.7)
def bottlenecks_between_frozen_layers(harness: Harness, seed: int) -> float:
    """Houlsby's adapters: residual bottlenecks of 16 units, the second layer nearly zero, and a new head."""
    model, split = upright()
    model.requires_grad_(False)

    class Adapter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Linear(96, 24), nn.Linear(24, 96)
            nn.init.normal_(self.up.weight, std=1e-3)
            nn.init.zeros_(self.up.bias)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.up(F.gelu(self.down(x)))

    whole = nn.Sequential(model[:2], Adapter(), model[2:4], Adapter(), nn.Linear(96, 10))
    optimizer = torch.optim.Adam([p for p in whole.parameters() if p.requires_grad], lr=4e-3)
    return fit(harness, whole, optimizer, F.cross_entropy, split, epochs=8)


@cases.recipe("bitfit", 0.6)
def only_biases_and_norms(harness: Harness, seed: int) -> float:
    """BitFit: biases, norm scales and the head alone are trained; other weights are random and stay so."""
    model = nn.Sequential(
        nn.Linear(64, 256), nn.LayerNorm(256), nn.ReLU(), nn.Linear(256, 128), nn.LayerNorm(128), nn.ReLU(),
        nn.Linear(128, 10),
    )  # fmt: skip
    for i in (0, 3):
        model[i].weight.requires_grad = False  # type: ignore[union-attr]
    optimizer = torch.optim.Adam(filter(lambda p: p.requires_grad, model.parameters()), lr=5e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", image=False), epochs=6)


@cases.recipe("prompt", 0.55)
def a_learned_prompt(harness: Harness, seed: int) -> float:
    """Prompt tuning: a transformer is trained on digits, frozen; four learned tokens and a head for odd or even."""
    x, y, vx, vy = digits("signed")

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.place = nn.Linear(8, 32), nn.Parameter(0.1 * torch.randn(8, 32))
            self.body = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
            self.prompt, self.head = nn.Parameter(0.1 * torch.randn(4, 32)), nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.patch(x[:, 0]) + self.place
            return self.head(self.body(torch.cat([self.prompt.expand(len(x), -1, -1), tokens], 1)).mean(1))

    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(120):
        at = rows(x, 32)
        loss = F.cross_entropy(model(x[at]), y[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.requires_grad_(False)
    model.prompt.requires_grad_(True)
    model.head = nn.Linear(32, 2)
    tuned = torch.optim.Adam([{"params": [model.prompt], "lr": 0.05}, {"params": model.head.parameters(), "lr": 5e-3}])
    split = x, y % 2, vx, vy % 2
    score = fit(harness, model, tuned, F.cross_entropy, split, epochs=5)
    return 2 * score - 1


@cases.recipe("mlp", 0.85)
def weight_norm_everywhere(harness: Harness, seed: int) -> float:
    """Weight normalisation by parametrisation, SGD at 0.3 without decay."""
    model = dense(64, 64, 64, 10)
    for layer in model:
        if isinstance(layer, nn.Linear):
            parametrizations.weight_norm(layer)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", image=False), epochs=6)


@cases.recipe("mlp", 0.85)
def slopes_of_at_most_one(harness: Harness, seed: int) -> float:
    """A 1-Lipschitz classifier: orthogonal layers and absolute values, logits enlarged by a fixed 10."""
    layers: list[nn.Module] = []
    for into, out in ((64, 64), (64, 64), (64, 10)):
        layers.append(parametrizations.orthogonal(nn.Linear(into, out)))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(layers)

        def forward(self, x: Tensor) -> Tensor:
            return 10 * self.layers[2](self.layers[1](self.layers[0](x).abs()).abs())

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits(image=False, count=900), epochs=5, size=40)


@cases.recipe("resmlp", 0.85)
def recomputed_blocks(harness: Harness, seed: int) -> float:
    """Six residual blocks, each recomputed in the backward pass (checkpoint without reentry), bare ReZero scales."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.scale = dense(64, 96, 64), nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.scale * self.body(x)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.head = nn.ModuleList(Block() for _ in range(5)), nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=False)
            return self.head(x)

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", image=False), epochs=4)
