"""Optimizers, averages, thrift and hooks, by a fourth author, without any threshold. See `healthy_fourth.py`."""

import copy
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, school, some
from benchmarks.chart.second import SecondCases, accuracy, cancer, convs, dense, digits, explained, housing
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint_sequential

cases = SecondCases("fourth")


class Own(Optimizer):
    """Base of optimizers of one's own: `move(p, g, state, group)` for each parameter."""

    def __init__(self, params: Any, **defaults: Any) -> None:
        super().__init__(params, defaults)

    def move(self, p: Tensor, g: Tensor, state: Any, group: Any) -> None:
        """Change the parameter in place."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of all."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.state[p]["t"] = self.state[p].get("t", 0) + 1
                    self.move(p, p.grad, self.state[p], group)


@cases.recipe("mlp", 0.85)
def belief_in_the_gradient(harness: Harness, seed: int) -> float:
    """AdaBelief by hand: the second moment is of the gradient's deviation from its average; bias correction."""

    class AdaBelief(Own):
        def move(self, p: Tensor, g: Tensor, state: Any, group: Any) -> None:
            m, s = state.setdefault("m", torch.zeros_like(p)), state.setdefault("s", torch.zeros_like(p))
            m.lerp_(g, 0.1)
            s.mul_(0.999).add_((g - m).square() + 1e-12, alpha=0.001)
            t = state["t"]
            p.addcdiv_(m / (1 - 0.9**t), (s / (1 - 0.999**t)).sqrt() + 1e-8, value=-group["lr"])

    model = dense(64, 64, 10)
    optimizer = AdaBelief(model.parameters(), lr=2e-3)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), digits("standard", False), epochs=5)


@cases.recipe("cnn", 0.85)
def rates_by_ratio_of_norms(harness: Harness, seed: int) -> float:
    """LARS by hand for large batches of 256: the rate of each matrix follows its norm, momentum, 6 steps of warm-up."""

    class Lars(Own):
        def move(self, p: Tensor, g: Tensor, state: Any, group: Any) -> None:
            g = g + 1e-4 * p
            ratio = 0.02 * p.norm() / (g.norm() + 1e-9) if p.dim() > 1 else torch.tensor(0.05)
            v = state.setdefault("v", torch.zeros_like(p))
            v.mul_(0.9).add_(g * ratio, alpha=group["lr"])
            p.sub_(v)

    model = convs()
    optimizer = Lars(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, (i + 1) / 6) * (1 - i / 66))
    return school(
        harness, model, optimizer, nn.CrossEntropyLoss(), digits("standard"), epochs=16, size=256, drop_last=True,
        scheduler=scheduler, by_batch=True,
    )  # fmt: skip


@cases.recipe("mlp", 0.85)
def no_schedule_needed(harness: Harness, seed: int) -> float:
    """Schedule-free SGD: gradients at a blend of the fast point and the average, the average is validated."""
    x, y, vx, vy = digits("standard", image=False)
    model = dense(64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    fast = [p.detach().clone() for p in model.parameters()]
    mean = [p.detach().clone() for p in model.parameters()]
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for i in range(250):
        a, b = some(40, x, y)
        out = model(a)
        loss = F.cross_entropy(out, b)
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p, z in zip(model.parameters(), fast, strict=True):
                p.copy_(z)
        optimizer.step()
        with torch.no_grad():
            for p, z, m in zip(model.parameters(), fast, mean, strict=True):
                z.copy_(p)
                m.lerp_(z, 1 / (i + 2))
                p.copy_(0.1 * z + 0.9 * m)
        harness.step(loss=loss, inputs=a, targets=b, outputs=out)
    names = [n for n, _ in model.named_parameters()]
    return accuracy(functional_call(model, dict(zip(names, mean, strict=True)), (vx,)), vy)


@cases.recipe("cnn", 0.85)
def starts_with_adam_ends_with_sgd(harness: Harness, seed: int) -> float:
    """SWATS by hand: Adam for 100 steps and then SGD with momentum on the same weights; a second optimizer object."""
    x, y, vx, vy = digits("standard")
    model = convs(norm=nn.BatchNorm2d)
    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    sgd = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)

    def compute(i: int) -> Any:
        a, b = some(32, x, y)
        out = model(a)
        return {"loss": F.cross_entropy(out, b), "inputs": a, "targets": b, "outputs": out}

    harness.begin(model, [adam, sgd])
    march(harness, model, adam, compute, 100, begin=False)
    march(harness, model, sgd, compute, 100, begin=False)
    return accuracy(model.eval()(vx), vy)


@cases.recipe("mlp", 0.85)
def gradients_centred_by_hooks(harness: Harness, seed: int) -> float:
    """Gradient centralisation: hooks on matrices take the mean over inputs from each row's gradient; SGD."""
    model = dense(64, 64, 10)
    for p in model.parameters():
        if p.dim() > 1:
            p.register_hook(lambda g: g - g.mean(1, keepdim=True))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), digits("standard", False), epochs=5, tell="pair")


@cases.recipe("mlp", 0.85)
def clipped_by_each_unit(harness: Harness, seed: int) -> float:
    """Adaptive clipping (as in NFNets): each unit's gradient is at most 5 % of its weights' norm; no norm layers."""
    model = dense(64, 64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, nesterov=True)

    def clip() -> None:
        for p in model.parameters():
            if p.grad is not None and p.dim() > 1:
                most = 0.05 * p.detach().norm(dim=1, keepdim=True).clamp(min=1e-3)
                p.grad.mul_((most / p.grad.norm(dim=1, keepdim=True).clamp(min=1e-6)).clamp(max=1))

    split = digits("standard", False)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=6, before_step=clip)


@cases.recipe("mlp", 0.85)
def rate_finder_then_training(harness: Harness, seed: int) -> float:
    """The rate rises from 1e-5 to 0.3 in 60 steps, the weights are put back, then a third of the best rate is used."""
    x, y, vx, vy = digits("standard", False)
    model = dense(64, 64, 10)
    start = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9)
    seen: list[tuple[float, float]] = []

    def compute(i: int) -> Any:
        a, b = some(32, x, y)
        loss = F.cross_entropy(model(a), b)
        if i < 60:
            optimizer.param_groups[0]["lr"] = 1e-5 * 10 ** (4.5 * i / 60)
            seen.append((loss.item(), optimizer.param_groups[0]["lr"]))
        return {"loss": loss, "inputs": a}

    def back(i: int) -> None:
        if i == 59:
            model.load_state_dict(start)
            optimizer.state.clear()
            optimizer.param_groups[0]["lr"] = max(min(seen)[1] / 3, 0.01)

    march(harness, model, optimizer, compute, 260, after=back)
    return accuracy(model(vx), vy)


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
