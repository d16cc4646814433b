"""Quantised, sparse, adapted and hooked networks, by a fourth author, without any threshold.

See `healthy_fourth.py`.
"""

from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, school, some
from benchmarks.chart.second import SecondCases, accuracy, cancer, dense, digits, explained, housing
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint_sequential

cases = SecondCases("fourth")


def taught_upright() -> tuple[nn.Sequential, Any]:
    """A network trained on upright digits for a moment, and digits whose pixels are upside down."""
    x, y, vx, vy = digits("standard", False)
    model = dense(64, 96, 96, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(120):
        a, b = some(48, x, y)
        optimizer.zero_grad()
        F.cross_entropy(model(a), b).backward()
        optimizer.step()
    return model, (x.flip(1), y, vx.flip(1), vy)


@cases.recipe("mlp", 0.85)
def step_size_of_quantisation_learns(harness: Harness, seed: int) -> float:
    """LSQ: weights and activations in 3 bits, the step sizes are parameters with scaled gradients, straight through."""

    class Quantised(nn.Linear):
        def __init__(self, into: int, out: int) -> None:
            super().__init__(into, out)
            self.sw = nn.Parameter(2 * self.weight.detach().abs().mean() / 3**0.5)
            self.sx = nn.Parameter(torch.tensor(0.15))

        @staticmethod
        def quantise(v: Tensor, s: Tensor, low: int, high: int) -> Tensor:
            g = (v.numel() * high) ** -0.5
            s = (s * g - (s * g).detach()) + s.detach()
            z = (v / s).clamp(low, high)
            return (z + (z.round() - z).detach()) * s

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.quantise(x, self.sx, 0, 7), self.quantise(self.weight, self.sw, -4, 3), self.bias)

    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), Quantised(64, 64), nn.ReLU(), Quantised(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), digits(image=False), epochs=7)


@cases.recipe("mlp", 0.8)
def gates_that_close(harness: Harness, seed: int) -> float:
    """L0 by hard concrete gates on inputs and hidden units; the expected number of open gates is in the loss."""

    class Gate(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.full((n,), 2.0))

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                u = torch.rand_like(self.a).clamp(1e-6, 1 - 1e-6)
                s = ((u.log() - (1 - u).log() + self.a) / 0.66).sigmoid()
            else:
                s = self.a.sigmoid()
            return x * (s * 1.2 - 0.1).clamp(0, 1)

        def open(self) -> Tensor:
            return (self.a - 0.66 * torch.tensor(0.1 / 1.1).log()).sigmoid().sum()

    model = nn.Sequential(Gate(64), nn.Linear(64, 64), nn.ReLU(), Gate(64), nn.Linear(64, 10))

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out, y) + 2e-3 * (model[0].open() + model[3].open())  # type: ignore[operator]

    optimizer = torch.optim.Adam(
        [{"params": [p for n, p in model.named_parameters() if not n.endswith(".a")]},
         {"params": [p for n, p in model.named_parameters() if n.endswith(".a")], "lr": 0.03}], lr=3e-3,
    )  # fmt: skip
    return school(harness, model, optimizer, loss_fn, digits("standard", False), epochs=8)


@cases.recipe("mlp", 0.85)
def sparse_from_start_to_end(harness: Harness, seed: int) -> float:
    """RigL: 80 % of weights are 0; every 40 steps the smallest fifth dies and those of the largest gradients grow."""
    x, y, vx, vy = digits("standard", False)
    model = dense(64, 96, 10)
    layers = [m for m in model if isinstance(m, nn.Linear)]
    masks = [(torch.rand_like(m.weight) < 0.2).float() for m in layers]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    @torch.no_grad()
    def tidy(i: int) -> None:
        for m, mask in zip(layers, masks, strict=True):
            w, g = m.weight, m.weight.grad
            if i % 40 == 39 and i < 200 and g is not None:
                n = int(mask.sum() * 0.2)
                dies = w.abs().masked_fill(mask == 0, float("inf")).flatten().topk(n, largest=False).indices
                grows = g.abs().masked_fill(mask == 1, -1.0).flatten().topk(n).indices
                mask.view(-1)[dies], mask.view(-1)[grows] = 0, 1
            w.mul_(mask)

    tidy(0)

    def compute(i: int) -> Any:
        a, b = some(40, x, y)
        return {"loss": F.cross_entropy(model(a), b), "inputs": a, "targets": b}

    march(harness, model, optimizer, compute, 280, after=tidy)
    return accuracy(model(vx), vy)


@cases.recipe("transfer", 0.8)
def direction_and_size_apart(harness: Harness, seed: int) -> float:
    """DoRA: frozen weights plus a low-rank change, divided by the column norm (detached), times a learned size."""
    model, split = taught_upright()

    class Dora(nn.Module):
        def __init__(self, base: nn.Linear) -> None:
            super().__init__()
            self.base = base.requires_grad_(False)
            self.a = nn.Parameter(torch.randn(8, base.in_features) / 8)
            self.b = nn.Parameter(torch.zeros(base.out_features, 8))
            self.size = nn.Parameter(base.weight.norm(dim=1, keepdim=True))

        def forward(self, x: Tensor) -> Tensor:
            w = self.base.weight + self.b @ self.a
            return F.linear(x, self.size * w / w.norm(dim=1, keepdim=True).detach(), self.base.bias)

    tuned = nn.Sequential(*(Dora(m) if isinstance(m, nn.Linear) else m for m in model))
    optimizer = torch.optim.AdamW([p for p in tuned.parameters() if p.requires_grad], lr=6e-3)
    return school(harness, tuned, optimizer, nn.CrossEntropyLoss(), split, epochs=6)


@cases.recipe("transfer", 0.6)
def only_scales_are_learned(harness: Harness, seed: int) -> float:
    """(IA)^3: vectors that scale hidden units, begun at 1, and new biases of the head; all else is frozen."""
    model, split = taught_upright()
    model.requires_grad_(False)

    class Scale(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.s = nn.Parameter(torch.ones(n))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.s

    tuned = nn.Sequential(Scale(64), model[0], model[1], Scale(96), model[2], model[3], Scale(96), nn.Linear(96, 10))
    optimizer = torch.optim.Adam((p for p in tuned.parameters() if p.requires_grad), lr=0.01)
    return school(harness, tuned, optimizer, nn.CrossEntropyLoss(), split, epochs=5, percent=True, tell="pair")


@cases.recipe("mlp", 0.85)
def activity_is_penalised_by_a_hook(harness: Harness, seed: int) -> float:
    """A forward hook of the user's own collects hidden activity; its mean absolute value is added to the loss."""
    model = dense(64, 96, 96, 10)
    held: dict[str, Tensor] = {}
    model[1].register_forward_hook(lambda m, i, o: held.__setitem__("first", o))
    model[3].register_forward_hook(lambda m, i, o: held.__setitem__("second", o))

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out, y) + 0.01 * sum(h.abs().mean() for h in held.values())

    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return school(harness, model, optimizer, loss_fn, digits("standard", False), epochs=6, tell="loss")


@cases.recipe("mlp", 0.85)
def six_blocks_recomputed(harness: Harness, seed: int) -> float:
    """checkpoint_sequential over six residual blocks in three segments; pre-norm; AdamW; whole model in float64."""

    class Res(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.LayerNorm(48), nn.Linear(48, 48), nn.GELU(), nn.Linear(48, 48))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.body(x)

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(64, 48), nn.Linear(48, 10)
            self.middle = nn.Sequential(*(Res() for _ in range(6)))

        def forward(self, x: Tensor) -> Tensor:
            return self.last(checkpoint_sequential(self.middle, 3, self.first(x), use_reentrant=False))

    model = Deep().double()
    x, y, vx, vy = digits("standard", False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    split = x.double(), y, vx.double(), vy
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=3, size=32)


@cases.recipe("mlp", 0.9)
def spectral_norm_in_a_classifier(harness: Harness, seed: int) -> float:
    """All layers under spectral norm; logits times a learned scale; binary labels; whole batches of the loader only."""
    layers = [parametrizations.spectral_norm(nn.Linear(a, b)) for a, b in ((30, 32), (32, 32), (32, 1))]

    class Smooth(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.scale = nn.ModuleList(layers), nn.Parameter(torch.tensor(5.0))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers[:-1]:
                x = layer(x).relu()
            return (self.layers[-1](x) * self.scale).squeeze(1)

    x, y, vx, vy = cancer()
    model = Smooth()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return school(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), (x, y.float(), vx, vy.float()), epochs=8, drop_last=True,
        score=lambda o, t: float(((o > 0) == (t > 0.5)).float().mean()),
    )  # fmt: skip


@cases.recipe("mlp", 0.85)
def muon_of_the_library(harness: Harness, seed: int) -> float:
    """torch.optim.Muon for the matrices of an MLP, Adam for biases and the head, both stepped in one loop."""
    x, y, vx, vy = digits("standard", False)
    model = dense(64, 96, 96, 10)
    hidden = [model[0].weight, model[2].weight]
    rest = [p for p in model.parameters() if all(p is not h for h in hidden)]
    muon = torch.optim.Muon(hidden, lr=0.02, weight_decay=0.01)
    adam = torch.optim.Adam(rest, lr=3e-3)
    harness.begin(model, [muon, adam], loss_fn=F.cross_entropy)
    for i in range(200):
        a, b = some(48, x, y)
        out = model(a)
        loss = F.cross_entropy(out, b)
        muon.zero_grad()
        adam.zero_grad()
        loss.backward()
        muon.step()
        adam.step()
        harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        if i % 40 == 39:
            harness.epoch(train={"loss": loss.item()}, val={"accuracy": accuracy(model(vx), vy)})
    return accuracy(model(vx), vy)


@cases.recipe("regression", 0.6)
def half_precision_and_no_scaler(harness: Harness, seed: int) -> float:
    """Prices under bfloat16 autocast, loss outside of it in float32, NAdam, exponential decay, batches of 50."""

    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = dense(6, 64, 64, 1, act=nn.SiLU)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.net(x).float()

    model = Cast()
    optimizer = torch.optim.NAdam(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.93)
    return school(
        harness, model, optimizer, nn.MSELoss(), housing(), epochs=16, size=50, scheduler=scheduler, score=explained,
        key=None,
    )  # fmt: skip
