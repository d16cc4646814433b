"""Healthy held-out runs: recipes, networks and data that no threshold was set on."""

import copy

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.faults.held_out_losses import VAE, train_vae
from benchmarks.chart.faults.held_out_sequences import BiLSTM, Reader, language
from benchmarks.chart.held_out import (
    VOCABULARY,
    CausalTCN,
    CenterDetector,
    ConvNeXt,
    Mixer,
    SmallUNet,
    UnseenCases,
    accuracy,
    batches,
    cancer,
    detection_loss,
    fit,
    moons,
    reviews,
    shapes,
    table_net,
    waves,
    wine,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = UnseenCases("held-out")


@cases.healthy_loop("convnext")
def convnext_with_adamw(harness: Harness, seed: int) -> float | None:
    """Small layer scale, AdamW, decay 0.05, one cycle per batch."""
    model = ConvNeXt(scale=0.01)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.05)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=18 * 9)
    split = shapes()
    return fit(harness, model, optimizer, F.cross_entropy, split, scheduler=cycle, per_batch=True, epochs=9)


@cases.healthy_loop("mixer")
def mixer_with_smoothing(harness: Harness, seed: int) -> float | None:
    """MLP-Mixer with label smoothing of 0.1."""
    model = Mixer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, nn.CrossEntropyLoss(label_smoothing=0.1), shapes(), epochs=8)


@cases.healthy_loop("tcn")
def causal_language(harness: Harness, seed: int) -> float | None:
    """A causal TCN foretells the next word."""
    return language(harness, CausalTCN())


@cases.healthy_loop("bilstm")
def tagger_that_ignores_padding(harness: Harness, seed: int) -> float | None:
    """A bidirectional tagger with ignore_index at the padding; it may see both sides."""
    x, _, vx, _ = reviews()

    def tags(ids: Tensor) -> Tensor:
        return torch.where(ids > 0, ids % 3, -100)

    model = BiLSTM(nn.Embedding(VOCABULARY, 24, padding_idx=0), 3, per_step=True)
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=3e-3),
               lambda o, t: F.cross_entropy(o.transpose(1, 2), t), (x, tags(x), vx, tags(vx)), epochs=5,
               measure=lambda o, t: float((o.argmax(-1) == t)[t >= 0].float().mean()))  # fmt: skip


@cases.healthy_loop("bilstm")
def series_by_bilstm(harness: Harness, seed: int) -> float | None:
    """Classification of series."""
    model = BiLSTM(nn.Linear(1, 24), 4)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), F.cross_entropy, waves(), epochs=7)


@cases.healthy_loop("vae")
def variational_autoencoder(harness: Harness, seed: int) -> float | None:
    """A light divergence, standardised rows."""
    train_vae(harness, VAE(30), "mse_loss", 0.02, cancer()[0])
    return None


@cases.healthy_loop("siamese")
def contrastive_pairs(harness: Harness, seed: int) -> float | None:
    """A siamese network on random pairs with a margin."""
    x, y, *_ = cancer()
    model = table_net(30, 8)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    harness.begin(model, optimizer)
    for _ in range(10):
        for inputs, targets in batches(x, y):
            other = torch.randperm(len(inputs))
            first, second = model(inputs), model(inputs[other])
            is_same = (targets == targets[other]).float()
            distance = (first - second).norm(dim=1).clamp(min=1e-6)
            loss = (is_same * distance**2 + (1 - is_same) * F.relu(1 - distance) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=is_same, outputs=first)
        harness.epoch()
    return None


@cases.healthy_loop("unet")
def dice_and_cross_entropy(harness: Harness, seed: int) -> float | None:
    """A soft Dice loss beside binary cross-entropy."""
    x, y, vx, vy = shapes("masks")
    model = SmallUNet(1)

    def loss_fn(out: Tensor, t: Tensor) -> Tensor:
        p = out.sigmoid()
        dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
        return dice + F.binary_cross_entropy_with_logits(out, t)

    split = x, y.float()[:, None], vx, vy.float()[:, None]
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=2e-3), loss_fn, split, epochs=5,
               measure=lambda o, t: float(((o > 0) == (t > 0)).float().mean()))  # fmt: skip


@cases.healthy_loop("keypoint")
def heatmaps_of_two_pixels(harness: Harness, seed: int) -> float | None:
    """Heatmap regression with a sigma of two pixels, weighted MSE."""
    x, c, vx, vc = shapes("centres")

    def heat(centres: Tensor) -> Tensor:
        g = torch.arange(16.0)
        d = (g[None, None, :] - centres[:, 0, None, None]) ** 2 + (g[None, :, None] - centres[:, 1, None, None]) ** 2
        return torch.exp(-d / 8)[:, None]

    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 5, padding=2),
        nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 1, 1),
    )  # fmt: skip
    split = x, heat(c), vx, heat(vc)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=2e-3), lambda o, t: 100 * F.mse_loss(o, t),
               split, epochs=6, measure=None)  # fmt: skip


@cases.healthy_loop("wine")
def many_labels(harness: Harness, seed: int) -> float | None:
    """Several labels per row with BCEWithLogitsLoss and pos_weight."""
    x, _, vx, _ = wine()
    model = table_net(13, 6)
    split = x, (x[:, :6] > 0.5).float(), vx, (vx[:, :6] > 0.5).float()
    loss_fn = nn.BCEWithLogitsLoss(pos_weight=torch.full((6,), 2.0))
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), loss_fn, split, size=16, epochs=15,
               measure=lambda o, t: float(((o > 0).float() == t).float().mean()))  # fmt: skip


@cases.healthy_loop("ordinal")
def cumulative_logits(harness: Harness, seed: int) -> float | None:
    """Ordinal regression: one shared score and ordered thresholds."""
    x, _, vx, _ = cancer()

    class Ordinal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 1, bias=False))
            self.thresholds = nn.Parameter(torch.tensor([-1.0, 0.0, 1.0]))

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x) - self.thresholds

    marks, val_marks = ((v[:, 3:4] > torch.tensor([-0.6, 0.0, 0.8])).float() for v in (x, vx))
    model = Ordinal()
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), F.binary_cross_entropy_with_logits,
               (x, marks, vx, val_marks), epochs=10,
               measure=lambda o, t: float(((o > 0).float() == t).float().mean()))  # fmt: skip


@cases.healthy_loop("wine")
def focal_loss(harness: Harness, seed: int) -> float | None:
    """A focal loss of logits."""
    model = table_net(13, 3)

    def focal(logits: Tensor, targets: Tensor) -> Tensor:
        loss = F.cross_entropy(logits, targets, reduction="none")
        return ((1 - (-loss).exp()) ** 2 * loss).mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, focal, wine(), size=16, epochs=6)


@cases.healthy_loop("detector")
def center_detector(harness: Harness, seed: int) -> float | None:
    """The anchor-free detector with its boxes and classes as they should be, flipped together."""
    x, boxes, *_ = shapes("boxes", count=480)
    labels = shapes(count=480)[1]
    model = CenterDetector()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer, loss_fn=detection_loss)
    for _ in range(5):
        for inputs, rows in batches(x, torch.arange(len(x)), 16):
            own = boxes[rows]
            if torch.rand(()) < 0.5:
                inputs, own = inputs.flip(-1), torch.stack([16 - own[:, 2], own[:, 1], 16 - own[:, 0], own[:, 3]], 1)
            targets = [{"boxes": b[None], "labels": k[None]} for b, k in zip(own, labels[rows], strict=True)]
            optimizer.zero_grad()
            out = model(inputs)
            loss = detection_loss(out, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        harness.epoch()
    return None


@cases.healthy_loop("gan")
def hinge_gan(harness: Harness, seed: int) -> float | None:
    """A hinge GAN of two moons with spectral norm and two rates."""
    x, *_ = moons()
    generator = table_net(4, 2)
    critic = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(2, 48)), nn.LeakyReLU(0.2),
        nn.utils.parametrizations.spectral_norm(nn.Linear(48, 48)), nn.LeakyReLU(0.2), nn.Linear(48, 1),
    )  # fmt: skip
    first = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.0, 0.9))
    second = torch.optim.Adam(generator.parameters(), lr=5e-4, betas=(0.0, 0.9))
    harness.begin([generator, critic], [second, first])
    for _ in range(6):
        for real, _ in batches(x, x):
            fake = generator(torch.randn(len(real), 4))
            loss = F.relu(1 - critic(real)).mean() + F.relu(1 + critic(fake.detach())).mean()
            first.zero_grad()
            loss.backward()
            first.step()
            other = -critic(fake).mean()
            second.zero_grad()
            other.backward()
            second.step()
            harness.step(loss=loss, inputs=real)
        harness.epoch()
    return None


@cases.healthy_loop("distillation")
def soft_targets_of_a_teacher(harness: Harness, seed: int) -> float | None:
    """A trained, frozen teacher in eval mode, temperature 3, KL and cross-entropy."""
    x, y, vx, vy = cancer()
    teacher, student = table_net(30, 2, 64), table_net(30, 2, 12)
    early = torch.optim.Adam(teacher.parameters(), lr=3e-3)
    for _ in range(40):
        early.zero_grad()
        F.cross_entropy(teacher(x), y).backward()
        early.step()
    teacher.eval().requires_grad_(False)
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3)
    harness.begin(student, optimizer)
    for _ in range(10):
        for inputs, targets in batches(x, y):
            out = student(inputs)
            soft = F.kl_div((out / 3).log_softmax(1), (teacher(inputs) / 3).softmax(1), reduction="batchmean") * 9
            loss = 0.7 * soft + 0.3 * F.cross_entropy(out, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        harness.epoch()
    return accuracy(student(vx), vy)


@cases.healthy_loop("cnn")
def two_stages_with_freezing(harness: Harness, seed: int) -> float | None:
    """First the head alone with the trunk frozen, then all with a smaller rate for the trunk."""
    x, y, vx, vy = shapes()
    model = ConvNeXt()
    warm = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(4):
        for inputs, targets in batches(x, y):
            warm.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            warm.step()
    model.head = nn.Linear(24, 3)
    trunk = [p for n, p in model.named_parameters() if not n.startswith("head")]
    optimizer = torch.optim.AdamW([{"params": model.head.parameters()}, {"params": trunk, "lr": 1e-3}], lr=4e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    val: dict[str, float] = {}
    for epoch in range(6):
        for p in trunk:
            p.requires_grad_(epoch >= 2)
        for inputs, targets in batches(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        with torch.no_grad():
            out = model(vx)
        val = {"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)}
        harness.epoch(train={"loss": loss.item()}, val=val)
    return val["accuracy"]


@cases.healthy_loop("mixer")
def cosine_restarts(harness: Harness, seed: int) -> float | None:
    """Cosine annealing with warm restarts, stepped per batch, with SGD and Nesterov momentum."""
    model = Mixer()
    optimizer = torch.optim.SGD(model.parameters(), lr=5e-2, momentum=0.9, nesterov=True, weight_decay=1e-4)
    restarts = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=30, T_mult=2)
    return fit(harness, model, optimizer, F.cross_entropy, shapes(), scheduler=restarts, per_batch=True, epochs=10)


@cases.healthy_loop("cancer")
def accumulation_with_clipping(harness: Harness, seed: int) -> float | None:
    """Four micro-batches per step, losses divided, gradients clipped at norm 1."""
    x, y, vx, vy = cancer()
    model = table_net(30, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=5e-2, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(12):
        optimizer.zero_grad()
        for i, (inputs, targets) in enumerate(batches(x, y, 8)):
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            (loss / 4).backward()
            if i % 4 == 3:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        harness.epoch()
    return accuracy(model(vx), vy)


@cases.healthy_loop("moons")
def stochastic_weight_averaging(harness: Harness, seed: int) -> float | None:
    """SWA from the middle of the run, with a constant rate; validation of the average."""
    x, y, vx, vy = moons()
    model = table_net(2, 2)
    average = torch.optim.swa_utils.AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    swa = torch.optim.swa_utils.SWALR(optimizer, swa_lr=0.05, anneal_epochs=2)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    val: dict[str, float] = {}
    for epoch in range(10):
        total = []
        for inputs, targets in batches(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            total.append(loss.item())
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        if epoch >= 5:
            average.update_parameters(model)
            swa.step()
        with torch.no_grad():
            out = (average if epoch >= 5 else model)(vx)
        val = {"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)}
        harness.epoch(train={"loss": sum(total) / len(total)}, val=val)
    return val["accuracy"]


@cases.healthy_loop("wine")
def mixup(harness: Harness, seed: int) -> float | None:
    """Mixup of rows and labels with the same permutation."""
    x, y, vx, vy = wine()
    model = table_net(13, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(15):
        for inputs, targets in batches(x, y, 16):
            share, order = float(torch.distributions.Beta(0.4, 0.4).sample()), torch.randperm(len(inputs))
            hot = F.one_hot(targets, 3).float()
            mixed, soft = share * inputs + (1 - share) * inputs[order], share * hot + (1 - share) * hot[order]
            optimizer.zero_grad()
            out = model(mixed)
            loss = F.cross_entropy(out, soft)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=mixed, targets=soft, outputs=out)
        harness.epoch()
    return accuracy(model(vx), vy)


@cases.healthy_loop("attention")
def masked_attention(harness: Harness, seed: int) -> float | None:
    """Attention over words with its padding masked, mean pooling of what is real."""
    model = Reader("right")
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=2e-3), F.cross_entropy, reviews(), epochs=6)


@cases.healthy_loop("unet")
def bfloat16_autocast(harness: Harness, seed: int) -> float | None:
    """A U-Net under bf16 autocast, float32 weights, class weights for the rare foreground."""
    x, y, *_ = shapes("masks")
    model = SmallUNet(2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    loss_fn = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]))
    harness.begin(model, optimizer, loss_fn=loss_fn)
    for _ in range(4):
        for inputs, targets in batches(x, y):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                out = model(inputs)
                loss = loss_fn(out, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        harness.epoch()
    return None


@cases.healthy_loop("moons")
def moving_average_of_weights(harness: Harness, seed: int) -> float | None:
    """Validation uses an exponential moving average of the weights, updated at each step."""
    x, y, vx, vy = moons()
    model = table_net(2, 2)
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    val: dict[str, float] = {}
    for _ in range(8):
        for inputs, targets in batches(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                    slow.lerp_(fast, 0.05)
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        with torch.no_grad():
            out = average(vx)
        val = {"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)}
        harness.epoch(train={"loss": loss.item()}, val=val)
    return val["accuracy"]


@cases.healthy_loop("ranking")
def negative_log_likelihood_of_a_gaussian(harness: Harness, seed: int) -> float | None:
    """Regression of mean and variance; the loss may fall below 0."""
    x, _, vx, _ = cancer()
    model = table_net(26, 2)
    split = x[:, 4:], x[:, 3:4].clone(), vx[:, 4:], vx[:, 3:4].clone()

    def loss_fn(out: Tensor, t: Tensor) -> Tensor:
        return F.gaussian_nll_loss(out[:, :1], t, F.softplus(out[:, 1:]) + 1e-3)

    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=1e-3), loss_fn, split, epochs=10, measure=None)
