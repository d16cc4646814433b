"""Held-out faults of losses, outputs and metrics on tables, and of generative and paired networks."""

import torch
from benchmarks.chart.case import Cases, Harness
from benchmarks.chart.held_out import accuracy, batches, cancer, fit, moons, table_net, wine
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = Cases("held-out")


@cases.restated("cancer", accepts=["label-smoothing-too-strong"])
def smoothing_is_what_is_kept(harness: Harness, seed: int) -> float | None:
    """label_smoothing=0.95, taken for what is kept of the label."""
    model = table_net(30, 2)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.95)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=2e-3), loss_fn, cancer())


@cases.restated("wine", accepts=["softmax-before-cross-entropy"])
def focal_loss_of_probabilities(harness: Harness, seed: int) -> float | None:
    """A focal loss calls cross_entropy on the softmax that it computed for its weights."""
    model = table_net(13, 3)

    def focal(logits: Tensor, targets: Tensor) -> Tensor:
        p = logits.softmax(1)
        loss = F.cross_entropy(p, targets, reduction="none")
        return ((1 - p.gather(1, targets[:, None])[:, 0]) ** 2 * loss).mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, focal, wine(), size=16, epochs=12)


@cases.restated("cancer", accepts=["loss-summed-over-batch", "loss-scales-with-batch", "lr-too-high"])
def sum_with_the_rate_of_a_mean(harness: Harness, seed: int) -> float | None:
    """reduction="sum" over 64 rows, with the learning rate of the mean."""
    model = table_net(30, 2)
    loss_fn = nn.CrossEntropyLoss(reduction="sum")
    return fit(harness, model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), loss_fn, cancer(), size=64)


@cases.restated("wine", accepts=["cross-entropy-of-numbers"])
def cross_entropy_for_many_labels(harness: Harness, seed: int) -> float | None:
    """Several labels per row, as zeros and ones, go to cross_entropy as though they were probabilities."""
    x, _, vx, _ = wine()
    model = table_net(13, 6)
    marks, val_marks = (x[:, :6] > 0).float(), (vx[:, :6] > 0).float()
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=2e-3), F.cross_entropy,
               (x, marks, vx, val_marks), size=16, epochs=12,
               measure=lambda o, t: float(((o > 0).float() == t).float().mean()))  # fmt: skip


@cases.restated("wine", accepts=["squared-loss-on-classes"])
def cultivar_as_a_number(harness: Harness, seed: int) -> float | None:
    """The class id is regressed with one output and MSE."""
    x, y, vx, vy = wine()
    model = table_net(13, 1)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=2e-3), F.mse_loss,
               (x, y.float()[:, None], vx, vy.float()[:, None]), size=16, epochs=12,
               measure=lambda o, t: float((o.round() == t).float().mean()))  # fmt: skip


@cases.restated("cancer", accepts=["single-output-cross-entropy"])
def one_output_for_two_classes(harness: Harness, seed: int) -> float | None:
    """Binary classification with one output and cross entropy over it; the labels were made float to fit."""
    x, y, vx, vy = cancer()
    model = table_net(30, 1)
    split = x, y.float()[:, None], vx, vy.float()[:, None]
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=2e-3), nn.CrossEntropyLoss(), split,
               measure=lambda o, t: float(((o > 0).float() == t).float().mean()))  # fmt: skip


@cases.restated("moons", accepts=["nll-without-log-softmax"])
def nll_of_probabilities(harness: Harness, seed: int) -> float | None:
    """softmax, not log_softmax, before NLLLoss."""
    model = nn.Sequential(table_net(2, 2), nn.Softmax(dim=1))
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), nn.NLLLoss(), moons())


@cases.restated("cancer", accepts=["metric-contradicts-loss"])
def accuracy_per_batch_count(harness: Harness, seed: int) -> float | None:
    """Right answers are divided by the number of batches."""
    x, y, vx, vy = cancer()
    model = table_net(30, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(6):
        right, total, count = 0, 0.0, 0
        for inputs, targets in batches(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            right, total, count = right + int((out.argmax(1) == targets).sum()), total + loss.item(), count + 1
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        with torch.no_grad():
            out = model(vx)
        val = {"loss": float(F.cross_entropy(out, vy)), "accuracy": int((out.argmax(1) == vy).sum()) / 5}
        harness.epoch(train={"loss": total / count, "accuracy": right / count}, val=val)
    return accuracy(model(vx), vy)


@cases.restated("cancer", accepts=["loss-not-finite"])
def logarithm_of_softmax(harness: Harness, seed: int) -> float | None:
    """A home-made cross entropy, the logarithm of softmax without care for 0, over raw inputs."""
    x, y, vx, vy = cancer(raw=True)
    model = table_net(30, 2)

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        return -(F.one_hot(y, 2) * torch.log(torch.softmax(out, 1))).sum(1).mean()

    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    return fit(harness, model, optimizer, loss_fn, (x, y, vx, vy))


@cases.restated("cancer", accepts=["gradient-ascent"])
def reward_minimised(harness: Harness, seed: int) -> float | None:
    """The optimizer was made with maximize=True when the loss was still a reward."""
    model = table_net(30, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, maximize=True)
    return fit(harness, model, optimizer, F.cross_entropy, cancer(), epochs=6)


class VAE(nn.Module):
    """A variational autoencoder of table rows."""

    def __init__(self, features: int, squash: bool = False) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(features, 48), nn.ReLU(), nn.Linear(48, 16))
        self.decoder = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, features))
        self.squash = nn.Sigmoid() if squash else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction, mean and log variance."""
        mean, log_var = self.encoder(x).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        return self.squash(self.decoder(z)), mean, log_var


def train_vae(harness: Harness, model: VAE, reconstruction: str, weight: float, x: Tensor) -> None:
    """The loop of the autoencoders."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer)
    for _ in range(10):
        for inputs, _ in batches(x, x):
            optimizer.zero_grad()
            out, mean, log_var = model(inputs)
            divergence = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1).mean()
            loss = getattr(F, reconstruction)(out, inputs) + weight * divergence
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=inputs, outputs=out)
        harness.epoch()


@cases.restated("vae", accepts=["output-cannot-reach-targets"])
def sigmoid_decoder_of_standardised_rows(harness: Harness, seed: int) -> float | None:
    """The decoder ends in a sigmoid as for pixels, and the rows are standardised."""
    train_vae(harness, VAE(30, squash=True), "mse_loss", 0.01, cancer()[0])
    return None


@cases.restated("vae", accepts=["input-not-used"])
def divergence_far_too_heavy(harness: Harness, seed: int) -> float | None:
    """The divergence is summed and the reconstruction averaged: the code says nothing, all outputs are the mean."""
    train_vae(harness, VAE(30), "mse_loss", 20.0, cancer()[0])
    return None


@cases.restated("gan", accepts=["no-backward", "layer-without-gradient", "gradient-always-zero", "weights-unchanged"])
def generator_detached(harness: Harness, seed: int) -> float | None:
    """The detached samples of the critic's step are used for the generator's step, too."""
    x, *_ = moons()
    generator, critic = table_net(4, 2), table_net(2, 1)
    first = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.99))
    second = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    harness.begin([generator, critic], [second, first])
    for _ in range(5):
        for real, _ in batches(x, x):
            one, zero = torch.ones(len(real), 1), torch.zeros(len(real), 1)
            fake = generator(torch.randn(len(real), 4)).detach()
            loss = F.binary_cross_entropy_with_logits(critic(real), one)
            loss = loss + F.binary_cross_entropy_with_logits(critic(fake), zero)
            first.zero_grad()
            loss.backward()
            first.step()
            other = F.binary_cross_entropy_with_logits(critic(fake), one)
            second.zero_grad()
            other.backward()
            second.step()
            harness.step(loss=loss, inputs=real)
        harness.epoch()
    return None


@cases.restated("siamese", accepts=["input-not-used", "one-class-targets"])
def only_positive_pairs(harness: Harness, seed: int) -> float | None:
    """The sampler of a siamese network forgets negative pairs, so that all embeddings become one."""
    x, y, *_ = cancer()
    model = table_net(30, 8)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer)
    for _ in range(10):
        for inputs, targets in batches(x, y):
            same = torch.stack([torch.where(targets == t)[0][-1] for t in targets])
            optimizer.zero_grad()
            first, second = model(inputs), model(inputs[same])
            is_same = (targets == targets[same]).float()
            distance = (first - second).norm(dim=1)
            loss = (is_same * distance**2 + (1 - is_same) * F.relu(1 - distance) ** 2).mean()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=is_same, outputs=first)
        harness.epoch()
    return None


class Student(nn.Module):
    """A classifier whose features are matched to a teacher's by a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(30, 32), nn.ReLU())
        self.project, self.head = nn.Linear(32, 48), nn.Linear(32, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and projected features."""
        h = self.body(x)
        return self.head(h), self.project(h)


@cases.restated("distillation", accepts=["layer-without-gradient", "parameters-never-used"], place="project")
def wrong_side_detached(harness: Harness, seed: int) -> float | None:
    """In the feature term it is the student that is detached, not the teacher."""
    x, y, vx, vy = cancer()
    teacher, student = nn.Sequential(nn.Linear(30, 48), nn.ReLU()), Student()
    optimizer = torch.optim.Adam(student.parameters(), lr=2e-3)
    harness.begin(student, optimizer)
    for _ in range(8):
        for inputs, targets in batches(x, y):
            out, features = student(inputs)
            loss = F.cross_entropy(out, targets) + F.mse_loss(features.detach(), teacher(inputs))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        harness.epoch()
    return accuracy(student(vx)[0], vy)


@cases.restated("ordinal", accepts=["targets-ignored", "one-class-targets", "no-positive-targets"])
def thresholds_compared_the_wrong_way(harness: Harness, seed: int) -> float | None:
    """Cumulative targets of an ordinal regression compare with thresholds 0..3 the ranks already scaled to 0..1."""
    x, _, vx, _ = cancer()
    rank, val_rank = (((v[:, 3] + 1).clamp(0, 1.99) * 2).floor() / 4 for v in (x, vx))
    marks, val_marks = ((r[:, None] > torch.arange(1, 4)).float() for r in (rank, val_rank))
    model = table_net(30, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, F.binary_cross_entropy_with_logits, (x, marks, vx, val_marks),
               measure=lambda o, t: float(((o > 0).float() == t).float().mean()))  # fmt: skip


@cases.restated("mixup", accepts=["noisy-labels", "labels-carry-no-information"])
def labels_mixed_in_another_order(harness: Harness, seed: int) -> float | None:
    """Mixup draws one permutation for the inputs and another for the labels, and mixes by half."""
    x, y, vx, vy = wine()
    model = table_net(13, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(15):
        for inputs, targets in batches(x, y, 16):
            share = float(torch.distributions.Beta(0.4, 0.4).sample())
            mixed = share * inputs + (1 - share) * inputs[torch.randperm(len(inputs))]
            soft = share * F.one_hot(targets, 3) + (1 - share) * F.one_hot(targets[torch.randperm(len(inputs))], 3)
            optimizer.zero_grad()
            out = model(mixed)
            loss = F.cross_entropy(out, soft)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=mixed, targets=soft, outputs=out)
        harness.epoch()
    return accuracy(model(vx), vy)
