"""Programs that make or weigh samples, by a seventh author, without any threshold. See `healthy_seventh.py`."""

import itertools
import math
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_seventh import glyphs, iterate, pick
from benchmarks.chart.second import SecondCases, dense, digits, explained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("seventh")


def spirals(count: int = 1500) -> Tensor:
    """Two arms of a spiral, about mean 0 and deviation 1."""
    t = torch.rand(count, 1).sqrt() * 7
    side = torch.randint(0, 2, (count, 1)) * 2 - 1
    return (torch.cat([t.cos(), t.sin()], 1) * t / 4 * side + 0.06 * torch.randn(count, 2)) / 0.9


def squares(count: int = 1500) -> Tensor:
    """Three squares in a row."""
    return (torch.rand(count, 2) - 0.5) * 0.8 + torch.tensor([[-1.3, -1], [0, 0.9], [1.3, -0.6]])[
        torch.randint(0, 3, (count,))
    ]


def alike(made: Tensor, real: Tensor) -> float:
    """One less the energy distance, relative to that of a normal of the same mean and deviation."""

    def far(a: Tensor, b: Tensor) -> float:
        within = (torch.cdist(v, v).sum() / (len(v) * (len(v) - 1)) for v in (a, b))
        return float(2 * torch.cdist(a, b).mean() - sum(within))

    made, real = made.detach()[:800], real[:800]
    plain = real.mean(0) + real.std(0) * torch.randn(800, real.shape[1])
    return 1 - far(made, real) / far(plain, real)


@cases.recipe("flow", 0.5)
def splines_between_bins(harness: Harness, seed: int) -> float:
    """Coupling layers whose map is a monotone piecewise-linear spline of sixteen bins on a box; exact likelihood."""
    x = (squares() / 2.2).clamp(-0.99, 0.99) / 2 + 0.5
    nets = nn.ModuleList(dense(1, 48, 48, 16) for _ in range(4))
    optimizer = torch.optim.Adam(nets.parameters(), lr=3e-3)

    def forward(v: Tensor) -> tuple[Tensor, Tensor]:
        total = v.new_zeros(len(v))
        for net in nets:
            a, b = v[:, :1], v[:, 1]
            height = net(a * 2 - 1).softmax(1) * 0.98 + 0.02 / 16
            at = (b * 16).clamp(0, 15.999)
            k = at.long()
            below = F.pad(height.cumsum(1), (1, 0)).gather(1, k[:, None])[:, 0]
            h = height.gather(1, k[:, None])[:, 0]
            total = total + (h * 16).log()
            v = torch.stack([(below + (at - k) * h).clamp(0, 1), v[:, 0]], 1)
        return v, total

    iterate(harness, nets, optimizer, lambda i: -forward(pick(128, x[:1200])[0])[1].mean(), 300, clip=5.0)
    with torch.no_grad():
        return float(forward(x[1200:])[1].mean())


@cases.recipe("diffusion", 0.48)
def preconditioned_by_the_noise_level(harness: Harness, seed: int) -> float:
    """Diffusion with skip, out and in scalings by the noise level, log-normal levels, an average is judged."""
    x = spirals() * 0.5
    net = dense(3, 96, 96, 96, 2, act=nn.SiLU)
    mean = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99))
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)

    def clean(f: nn.Module, v: Tensor, s: Tensor) -> Tensor:
        d = 0.5
        skip, out = d**2 / (s**2 + d**2), s * d / (s**2 + d**2).sqrt()
        return skip * v + out * f(torch.cat([v / (s**2 + d**2).sqrt(), s.log() / 4], 1))

    def compute(i: int) -> Tensor:
        (a,) = pick(160, x)
        s = (torch.randn(160, 1) * 1.2 - 1.6).exp()
        weight = (s**2 + 0.25) / (s * 0.5) ** 2
        return (weight * (clean(net, a + s * torch.randn_like(a), s) - a).square()).mean()

    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 900)
    iterate(harness, net, optimizer, compute, 900, scheduler=cosine, after=lambda i: mean.update_parameters(net))
    levels = torch.cat([torch.linspace(3.0 ** (1 / 5), 0.01 ** (1 / 5), 24) ** 5, torch.zeros(1)])
    v = torch.randn(800, 2) * 3
    with torch.no_grad():
        for s, u in itertools.pairwise(levels):
            slope = (v - clean(mean, v, s.expand(800, 1))) / s
            new = v + (u - s) * slope
            if u > 0:
                new = v + (u - s) * 0.5 * (slope + (new - clean(mean, new, u.expand(800, 1))) / u)
            v = new
    return alike(v, x)


@cases.recipe("diffusion", 0.6)
def letters_guided_without_a_classifier(harness: Harness, seed: int) -> float:
    """Small images from noise, told the class in nine of ten cases; read by the nearest image."""
    x, y, _, _ = glyphs(1200, 4)
    x = F.avg_pool2d(x, 2) * 2 - 1
    flat, label = x.flatten(1), y
    embed, net = nn.Embedding(5, 16), dense(36 + 16 + 8, 192, 192, 36, act=nn.SiLU)
    model = nn.ModuleDict({"embed": embed, "net": net})
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 900)
    keep = torch.cumprod(1 - torch.linspace(1e-3, 0.12, 60), 0)

    def read(v: Tensor, t: Tensor, c: Tensor) -> Tensor:
        w = t[:, None] / 60 * torch.tensor([1.0, 2, 4, 8]) * math.pi / 2
        return net(torch.cat([v, w.sin(), w.cos(), embed(c)], 1))

    def compute(i: int) -> Any:
        a, c = pick(64, flat, label)
        t, e = torch.randint(0, 60, (64,)), torch.randn_like(a)
        c = torch.where(torch.rand(64) < 0.1, 4, c)
        noisy = keep[t, None].sqrt() * a + (1 - keep[t, None]).sqrt() * e
        out = read(noisy, t, c)
        return {"loss": F.mse_loss(out, e), "inputs": noisy, "targets": e, "outputs": out}

    iterate(harness, model, optimizer, compute, 900, clip=1.0, scheduler=cosine)
    c, v = torch.arange(4).repeat_interleave(25), torch.randn(100, 36)
    with torch.no_grad():
        for k in range(59, -1, -2):
            t, before = torch.full((100,), k), keep[max(k - 2, 0)] if k > 1 else torch.tensor(1.0)
            e = 2 * read(v, t, c) - read(v, t, torch.full((100,), 4))
            v0 = ((v - (1 - keep[k]).sqrt() * e) / keep[k].sqrt()).clamp(-1.2, 1.2)
            v = before.sqrt() * v0 + (1 - before).sqrt() * e
    return float((label[torch.cdist(v, flat).argmin(1)] == c).float().mean())


@cases.recipe("diffusion", 0.4)
def tokens_come_out_of_masks(harness: Harness, seed: int) -> float:
    """Absorbing discrete diffusion: a random share of a counting line is masked, cross-entropy on the masked ones.

    Scored by the share of right neighbours in lines made from nothing but masks.
    """
    start, stride = torch.randint(0, 12, (1000, 1)), torch.randint(1, 3, (1000, 1))
    lines = (start + stride * torch.arange(10)) % 12
    embed, place = nn.Embedding(13, 48), nn.Embedding(10, 48)
    block = nn.TransformerEncoderLayer(48, 4, 96, 0.0, batch_first=True, norm_first=True)
    body, head = nn.TransformerEncoder(block, 2, nn.LayerNorm(48), enable_nested_tensor=False), nn.Linear(48, 12)
    model = nn.ModuleDict({"embed": embed, "place": place, "body": body, "head": head})
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def read(a: Tensor) -> Tensor:
        return head(body(embed(a) + place.weight))

    def compute(i: int) -> Any:
        (a,) = pick(48, lines)
        hidden = torch.rand(48, 10) < torch.rand(48, 1).clamp(min=0.1)
        out = read(a.masked_fill(hidden, 12))
        return {"loss": F.cross_entropy(out[hidden], a[hidden]), "inputs": a}

    iterate(harness, model, optimizer, compute, 450, clip=1.0)
    model.eval()
    v = torch.full((100, 10), 12)
    with torch.no_grad():
        for k in torch.randperm(10).tolist():
            v[:, k] = torch.distributions.Categorical(logits=read(v)[:, k]).sample()
    step = (v.diff(dim=1)) % 12
    return float(((step[:, 1:] == step[:, :-1]) & (step[:, 1:] <= 2) & (step[:, 1:] > 0)).float().mean())


@cases.recipe("energy", 0.6)
def odds_against_noise(harness: Harness, seed: int) -> float:
    """Noise-contrastive estimation: an unnormalised density with its own constant against a wide normal."""
    x = squares()
    energy, log_z = dense(2, 64, 64, 1, act=nn.SiLU), nn.Parameter(torch.zeros(()))
    model = nn.ModuleDict({"energy": energy, "log_z": nn.ParameterList([log_z])})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    linear = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 600)
    noise = torch.distributions.MultivariateNormal(torch.zeros(2), 2.0 * torch.eye(2))

    def odds(v: Tensor) -> Tensor:
        return -energy(v)[:, 0] - 0.5 * v.square().sum(1) - log_z - noise.log_prob(v)

    def compute(i: int) -> Tensor:
        (a,), b = pick(256, x), noise.sample((256,))
        return F.softplus(-odds(a)).mean() + F.softplus(odds(b)).mean()

    iterate(harness, model, optimizer, compute, 600, scheduler=linear)
    with torch.no_grad():
        v = noise.sample((20000,))
        return alike(v[torch.multinomial(odds(v).exp(), 800)], x)


@cases.recipe("energy", 0.6)
def spins_given_their_neighbours(harness: Harness, seed: int) -> float:
    """Pseudo-likelihood of an Ising model on a ring: each spin given the others; scored by the couplings found."""
    d = 12
    true = torch.zeros(d, d)
    i = torch.arange(d)
    true[i, (i + 1) % d] = torch.where(i % 3 == 0, -0.8, 0.6)
    true = true + true.T
    s = (torch.randint(0, 2, (1500, d)) * 2 - 1).float()
    for k in range(40 * d):
        j = k % d
        s[:, j] = torch.where(torch.rand(1500) < torch.sigmoid(2 * s @ true[j]), 1.0, -1.0)
    model = nn.ParameterDict({"j": nn.Parameter(torch.zeros(d, d)), "h": nn.Parameter(torch.zeros(d))})
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0, momentum=0.5)

    def coupling() -> Tensor:
        j = (model["j"] + model["j"].T) / 2
        return j - torch.diag(j.diagonal())

    def compute(k: int) -> Any:
        (a,) = pick(200, s)
        j = coupling()
        return {"loss": F.softplus(-2 * a * (a @ j + model["h"])).mean() + 1e-3 * j.abs().mean(), "inputs": a}

    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 250, 0.02)
    iterate(harness, model, optimizer, compute, 250, scheduler=decay)
    return explained(coupling().detach().flatten()[:, None], true.flatten()[:, None])


@cases.recipe("autoencoder", 0.5)
def codes_rounded_to_levels(harness: Harness, seed: int) -> float:
    """Finite scalar quantisation: six numbers between -1 and 1 are rounded to five levels, straight through."""
    x, _, vx, _ = digits(image=False)
    enc, dec = dense(64, 96, 6), dense(6, 96, 64)
    model = nn.ModuleDict({"enc": enc, "dec": dec})
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def through(a: Tensor) -> Tensor:
        z = 2 * enc(a).tanh()
        return dec((z + (z.round() - z).detach()) / 2)

    def compute(i: int) -> Any:
        (a,) = pick(64, x)
        out = through(a)
        return {"loss": F.mse_loss(out, a), "inputs": a, "targets": a, "outputs": out}

    iterate(harness, model, optimizer, compute, 400)
    return explained(through(vx).detach(), vx)


@cases.recipe("autoencoder", 0.48)
def noisy_inputs_clean_targets_tied(harness: Harness, seed: int) -> float:
    """A denoising autoencoder with tied weights of one matrix, a third of the pixels dropped."""
    x, _, vx, _ = digits(image=False)

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.empty(48, 64))
            self.b, self.c = nn.Parameter(torch.zeros(48)), nn.Parameter(torch.zeros(64))
            nn.init.xavier_uniform_(self.w)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(torch.sigmoid(F.linear(x, self.w, self.b)), self.w.T, self.c)

    model = Tied()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    harness.begin(model, optimizer, loss_fn=nn.BCEWithLogitsLoss())
    for _ in range(15):
        total = 0.0
        for rows in torch.randperm(len(x)).split(50):
            clean = x[rows]
            noisy = clean * (torch.rand_like(clean) > 0.3)
            optimizer.zero_grad()
            out = model(noisy)
            loss = F.binary_cross_entropy_with_logits(out, clean)
            loss.backward()
            optimizer.step()
            total += loss.item()
            harness.step(loss=loss, inputs=noisy, targets=clean, outputs=out)
        harness.epoch(train={"loss": total / 21})
    hidden = vx * (torch.rand_like(vx) > 0.3)
    return explained(torch.sigmoid(model(hidden)).detach(), vx)


@cases.recipe("gan", 0.6)
def drawings_from_their_outlines(harness: Harness, seed: int) -> float:
    """pix2pix: outline to picture, a judge of patches sees both; L1 at a hundred times."""
    x, _, vx, _ = glyphs(800)

    def outline(a: Tensor) -> Tensor:
        return (F.max_pool2d(a, 3, 1, 1) - a > 0.45).float() * 2 - 1

    pairs, val = (outline(x), x * 2 - 1), (outline(vx), vx * 2 - 1)
    maker = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 32, 3, padding=2, dilation=2),
        nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Conv2d(24, 1, 3, padding=1), nn.Tanh(),
    )  # fmt: skip
    judge = nn.Sequential(
        nn.Conv2d(2, 16, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 32, 3, padding=1), nn.LeakyReLU(0.2),
        nn.Conv2d(32, 1, 3, padding=1),
    )  # fmt: skip
    g = torch.optim.Adam(maker.parameters(), lr=1e-3, betas=(0.5, 0.999))
    d = torch.optim.Adam(judge.parameters(), lr=1e-3, betas=(0.5, 0.999))
    bce = F.binary_cross_entropy_with_logits
    harness.begin([maker, judge], [g, d])
    for _ in range(160):
        a, b = pick(16, *pairs)
        fake = maker(a)
        d.zero_grad()
        yes, no = judge(torch.cat([a, b], 1)), judge(torch.cat([a, fake.detach()], 1))
        loss_d = 0.5 * (bce(yes, torch.ones_like(yes)) + bce(no, torch.zeros_like(no)))
        loss_d.backward()
        d.step()
        g.zero_grad()
        said = judge(torch.cat([a, fake], 1))
        loss_g = bce(said, torch.ones_like(said)) + 100 * F.l1_loss(fake, b)
        loss_g.backward()
        g.step()
        harness.step(loss=loss_g, inputs=a, targets=b, outputs=fake)
    return explained(maker.eval()(val[0]).detach().flatten(1), val[1].flatten(1))


@cases.recipe("vae", 0.3)
def sequences_with_a_hidden_speed(harness: Harness, seed: int) -> float:
    """A variational recurrent autoencoder of waves: eight numbers, a weight of the divergence that grows, free bits."""
    t = torch.arange(20) / 3
    waves = (torch.rand(700, 1) * 6 + t * (0.5 + torch.rand(700, 1))).sin() + 0.1 * torch.randn(700, 20)
    enc, to_z = nn.GRU(1, 48, batch_first=True), nn.Linear(48, 16)
    from_z, dec, out = nn.Linear(8, 48), nn.GRU(1, 48, batch_first=True), nn.Linear(48, 1)
    model = nn.ModuleDict({"enc": enc, "to_z": to_z, "from_z": from_z, "dec": dec, "out": out})
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    clock = (t / t.max() * 2 - 1).view(1, 20, 1)

    def decode(z: Tensor) -> Tensor:
        return out(dec(clock.expand(len(z), -1, -1), from_z(z).tanh()[None])[0])[..., 0]

    def compute(i: int) -> Any:
        (a,) = pick(50, waves[:560])
        mean, log_var = to_z(enc(a[..., None])[1][0]).chunk(2, 1)
        z = mean + (log_var / 2).exp() * torch.randn_like(mean)
        guess = decode(z)
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean(0).clamp(min=0.05).sum()
        loss = (guess - a).square().sum(1).mean() * 4 + min(1.0, i / 200) * kl
        return {"loss": loss, "inputs": a, "targets": a, "outputs": guess}

    iterate(harness, model, optimizer, compute, 350, clip=2.0)
    with torch.no_grad():
        rest = waves[560:]
        return explained(decode(to_z(enc(rest[..., None])[1][0])[:, :8]), rest)
