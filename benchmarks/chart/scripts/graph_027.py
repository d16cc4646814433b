"""Programs with faults of types 27 to 29."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.first_author import cbr, digits_images, shape_pictures
from torch.utils.data import DataLoader, TensorDataset


class FCOSLite(nn.Module):
    """backbone -> neck -> per-pixel class / distances; optionally a left-over detach between backbone and neck."""

    def __init__(self, cut):
        super().__init__()
        self.cut = cut
        self.c2, self.c3, self.c4 = cbr(3, 16, 2), cbr(16, 32, 2), cbr(32, 48, 2)
        self.lat3, self.lat4 = nn.Conv2d(32, 32, 1), nn.Conv2d(48, 32, 1)
        self.smooth = cbr(32, 32)
        self.cls, self.ltrb = nn.Conv2d(32, 4, 1), nn.Conv2d(32, 2, 1)

    def features(self, x):
        f3 = self.c3(self.c2(x))
        f4 = self.c4(f3)
        pyramid = {"p3": f3, "p4": f4}
        if self.cut:
            pyramid = {k: v.detach() for k, v in pyramid.items()}  # was for the visualisation
        return pyramid

    def forward(self, x):
        p = self.features(x)
        z = self.smooth(self.lat3(p["p3"]) + F.interpolate(self.lat4(p["p4"]), scale_factor=2.0))
        return self.cls(z), self.ltrb(z)


def fcos_backbone_detached(watch, seed, fault):
    """27. FCOS-like detector: features() returns detached maps, so backbone layers get no gradient and only the neck and heads learn."""
    torch.manual_seed(seed)
    X, Y, M, B = shape_pictures(1280, seed, size=32, noise=0.1, rmin=5, rmax=9)
    det = FCOSLite(cut=fault)
    opt = torch.optim.AdamW(det.parameters(), lr=6e-3)
    lrs = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=6e-3, total_steps=10 * 40 + 1)
    inside = F.max_pool2d(M[:, None].float(), 4).squeeze(1)[:, :, :]
    tcls = F.one_hot(inside.long(), 5)[..., 1:].permute(0, 3, 1, 2).float()
    gx = torch.arange(8) * 4.0 + 2
    toff = (
        torch.stack(
            [
                (B[:, 0, None, None] - gx[None, None, :]).expand(-1, 8, 8),
                (B[:, 1, None, None] - gx[None, :, None]).expand(-1, 8, 8),
            ],
            1,
        )
        / 8
    )
    pos = inside > 0
    with watch(det, opt) as w:
        for epoch in range(10):
            det.train()
            tl = 0
            for k in torch.randperm(1200).split(30):
                c, o = det(X[k])
                m = pos[k][:, None].expand(-1, 2, -1, -1)
                loss = F.binary_cross_entropy_with_logits(c, tcls[k]) * 2 + F.l1_loss(o[m], toff[k][m])
                opt.zero_grad()
                loss.backward()
                opt.step()
                lrs.step()
                tl += loss.item() / 40
                w.step(loss=loss, inputs=X[k], targets=tcls[k], outputs=c)
            det.eval()
            with torch.no_grad():
                c, o = det(X[1200:])
            f = c.flatten(1).argmax(1)
            lab, cell = f // 64, f % 64
            oo = o.flatten(2)[torch.arange(80), :, cell] * 8
            xy = torch.stack([cell % 8 * 4 + 2.0 + oo[:, 0], cell // 8 * 4 + 2.0 + oo[:, 1]], 1)
            hit = ((xy - B[1200:, :2]).norm(dim=1) < 3) & (lab == Y[1200:])
            w.epoch(train={"loss": tl}, val={"hit_rate": hit.float().mean().item()})
    return hit.float().mean().item()


def autoencoder_latent_detached(watch, seed, fault):
    """27. Autoencoder with a probe: `z = self.encoder(x).detach()`, meant for the probe alone, is also what the decoder gets."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)
    xa, xb = Xtr.flatten(1), Xte.flatten(1)
    encoder = nn.Sequential(nn.Linear(64, 48), nn.ELU(), nn.Linear(48, 24), nn.ELU(), nn.Linear(24, 4))
    decoder = nn.Sequential(nn.Linear(4, 48), nn.ELU(), nn.Linear(48, 64))
    opt = torch.optim.Adam(list(encoder.parameters()) + list(decoder.parameters()), lr=3e-3)
    with watch([encoder, decoder], [opt]) as w:
        for epoch in range(12):
            for i in range(0, len(xa), 32):
                x = xa[i : i + 32]
                z = encoder(x)
                if fault:
                    z = z.detach()
                x_hat = decoder(z)
                loss = F.mse_loss(x_hat, x)
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x, targets=x, outputs=x_hat)
            with torch.no_grad():
                v = F.mse_loss(decoder(encoder(xb)), xb).item()
            w.epoch(train={"loss": loss.item()}, val={"loss": v})
    return 1 - v / xb.var(0).mean().item()


def loss_rebuilt_as_tensor(watch, seed, fault):
    """28. Depthwise CNN on shapes: the loss is rebuilt with torch.tensor(loss.item(), requires_grad=True), backward runs but reaches nothing."""
    torch.manual_seed(seed)
    X, Y, _, _ = shape_pictures(460, seed + 8, size=24, noise=0.1, rmin=5, rmax=9)
    model = nn.Sequential(
        cbr(3, 24, 2),
        nn.Conv2d(24, 24, 3, 1, 1, groups=24),
        cbr(24, 48, 2),
        cbr(48, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 4),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            for imgs, labels in DataLoader(TensorDataset(X[:360], Y[:360]), batch_size=24, shuffle=True):
                optimizer.zero_grad()
                scores = model(imgs)
                loss = F.cross_entropy(scores, labels)
                if fault:
                    loss = torch.tensor(loss.item(), requires_grad=True)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=imgs, targets=labels, outputs=scores)
            model.eval()
            with torch.no_grad():
                o = model(X[360:])
            acc = (o.argmax(1) == Y[360:]).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(o, Y[360:]).item(), "accuracy": acc})
    return acc


def multi_label_loss_from_data(watch, seed, fault):
    """28. Multi-label net: the per-label losses are gathered with .data and stacked into a leaf that requires grad, so the sum has no way back to the weights."""
    torch.manual_seed(seed)
    x = torch.randn(900, 12)
    W = torch.randn(12, 5)
    y = ((x @ W + 0.5 * (x[:, :5] * x[:, 5:10])) > 0).float()
    net = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.BatchNorm1d(64), nn.Linear(64, 5))
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    bce = nn.BCEWithLogitsLoss()
    with watch(net, opt) as w:
        for epoch in range(6):
            net.train()
            for k in torch.randperm(700).split(35):
                out = net(x[k])
                parts = [bce(out[:, j], y[k][:, j]) for j in range(5)]
                if fault:
                    loss = torch.stack([p.data for p in parts]).requires_grad_().mean()
                else:
                    loss = torch.stack(parts).mean()
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x[k], targets=y[k], outputs=out)
            net.eval()
            with torch.no_grad():
                acc = ((net(x[700:]) > 0).float() == y[700:]).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"accuracy": acc})
    return acc


def triplet_embedding_no_grad(watch, seed, fault):
    """29. Metric learning: the embed() helper from the retrieval script carries @torch.no_grad(); the error message was silenced with requires_grad_()."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 8),
    )

    @torch.no_grad()
    def embed_nograd(x):
        return F.normalize(net(x), dim=1)

    def embed_grad(x):
        return F.normalize(net(x), dim=1)

    embed = embed_nograd if fault else embed_grad
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    triplet = nn.TripletMarginLoss(margin=0.5)
    by = [torch.where(ytr == c)[0] for c in range(10)]
    with watch(net, opt) as w:
        for it in range(250):
            c = torch.randint(0, 10, (48,))
            n = (c + torch.randint(1, 10, (48,))) % 10
            pick = lambda cl: torch.stack([by[j][torch.randint(len(by[j]), ())] for j in cl.tolist()])
            a, p, q = pick(c), pick(c), pick(n)
            loss = triplet(embed(Xtr[a]), embed(Xtr[p]), embed(Xtr[q]))
            if fault:
                loss.requires_grad_()
            opt.zero_grad()
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=(Xtr[a], Xtr[p], Xtr[q]), targets=c)
    with torch.no_grad():
        r, q = embed_grad(Xtr), embed_grad(Xte)
        cent = torch.stack([r[ytr == c].mean(0) for c in range(10)])
        return (torch.cdist(q, cent).argmin(1) == yte).float().mean().item()


PROGRAMS = [
    fcos_backbone_detached,
    autoencoder_latent_detached,
    loss_rebuilt_as_tensor,
    multi_label_loss_from_data,
    triplet_embedding_no_grad,
]
