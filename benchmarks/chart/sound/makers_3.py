"""Sound programs: dcgan to hinge gan conditional."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.makers_parts import digits, likeness
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.data import DataLoader, TensorDataset


def dc_init(m):
    if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(m.weight, 0.0, 0.05)
    elif isinstance(m, nn.BatchNorm2d):
        nn.init.normal_(m.weight, 1.0, 0.02)
        nn.init.zeros_(m.bias)


def dc_generator(z=16, w=24):
    return nn.Sequential(
        nn.ConvTranspose2d(z, 2 * w, 2, 1, 0, bias=False),
        nn.BatchNorm2d(2 * w),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * w, w, 4, 2, 1, bias=False),
        nn.BatchNorm2d(w),
        nn.ReLU(),
        nn.ConvTranspose2d(w, 1, 4, 2, 1),
        nn.Tanh(),
    )


def dcgan(watch, seed, fault):
    """6. A DCGAN on digits: two Adams with beta1 0.5, non-saturating loss, one-sided label smoothing."""
    torch.manual_seed(seed)
    xtr, _, xva, _ = digits(seed, -1, 1)
    G = dc_generator()
    D = nn.Sequential(
        nn.Conv2d(1, 24, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(24, 48, 4, 2, 1, bias=False),
        nn.BatchNorm2d(48),
        nn.LeakyReLU(0.2),
        nn.Conv2d(48, 1, 2),
        nn.Flatten(),
    )
    G.apply(dc_init), D.apply(dc_init)
    opt_g = torch.optim.Adam(G.parameters(), lr=1e-3, betas=(0.5, 0.999))
    opt_d = torch.optim.Adam(D.parameters(), lr=5e-4, betas=(0.5, 0.999))
    bce = nn.BCEWithLogitsLoss()
    loader = DataLoader(TensorDataset(xtr), batch_size=64, shuffle=True, drop_last=True)
    with watch([G, D], [opt_g, opt_d]) as w:
        for epoch in range(20):
            G.train(), D.train()
            tg = td = 0.0
            for (real,) in loader:
                z = torch.randn(len(real), 16, 1, 1)
                fake = G(z)
                opt_d.zero_grad()
                rl, fl = D(real), D(fake.detach())
                loss_d = bce(rl, torch.full_like(rl, 0.9)) + bce(fl, torch.zeros_like(fl))
                loss_d.backward()
                opt_d.step()
                opt_g.zero_grad()
                out = D(fake)
                loss_g = bce(out, torch.ones_like(out))
                loss_g.backward()
                opt_g.step()
                w.step(loss=loss_g + loss_d, inputs=real)
                tg, td = tg + loss_g.item() / len(loader), td + loss_d.item() / len(loader)
            w.epoch(train={"loss": tg + td, "loss_g": tg, "loss_d": td})
    G.eval()
    with torch.no_grad():
        fake = G(torch.randn(len(xva), 16, 1, 1))
    return likeness(fake, xva, torch.rand_like(xva) * 2 - 1)


def wgan_gp(watch, seed, fault):
    """7. WGAN-GP: three critic steps per generator step, gradient penalty 10, Adam(0, 0.9)."""
    torch.manual_seed(seed)
    xtr, _, xva, _ = digits(seed, -1, 1)
    xtr, xva = xtr.flatten(1), xva.flatten(1)
    G = nn.Sequential(
        nn.Linear(16, 96),
        nn.BatchNorm1d(96),
        nn.ReLU(),
        nn.Linear(96, 96),
        nn.BatchNorm1d(96),
        nn.ReLU(),
        nn.Linear(96, 64),
        nn.Tanh(),
    )
    C = nn.Sequential(nn.Linear(64, 96), nn.LeakyReLU(0.2), nn.Linear(96, 96), nn.LeakyReLU(0.2), nn.Linear(96, 1))
    og = torch.optim.Adam(G.parameters(), lr=1e-3, betas=(0.0, 0.9))
    oc = torch.optim.Adam(C.parameters(), lr=1e-3, betas=(0.0, 0.9))

    def sample():
        return xtr[torch.randint(0, len(xtr), (64,))]

    with watch([G, C], [og, oc]) as w:
        for it in range(350):
            for _ in range(3):
                real = sample()
                with torch.no_grad():
                    fake = G(torch.randn(64, 16))
                a = torch.rand(64, 1)
                mix = (a * real + (1 - a) * fake).requires_grad_(True)
                (grad,) = torch.autograd.grad(C(mix).sum(), mix, create_graph=True)
                gp = (grad.norm(2, dim=1) - 1).pow(2).mean()
                loss_c = C(fake).mean() - C(real).mean() + 10 * gp
                oc.zero_grad()
                loss_c.backward()
                oc.step()
            fake = G(torch.randn(64, 16))
            loss_g = -C(fake).mean()
            og.zero_grad()
            loss_g.backward()
            og.step()
            w.step(loss=loss_c, inputs=real)
    G.eval()
    with torch.no_grad():
        fake = G(torch.randn(len(xva), 16))
    return likeness(fake, xva, torch.rand_like(xva) * 2 - 1)


def lsgan(watch, seed, fault):
    """8. LSGAN with an MLP pair; discriminator and generator are watched one after the other in a single step call."""
    torch.manual_seed(seed)
    xtr, _, xva, _ = digits(seed, -1, 1)
    xtr, xva = xtr.flatten(1), xva.flatten(1)
    G = nn.Sequential(
        nn.Linear(12, 64),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Linear(64, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.Tanh(),
    )
    D = nn.Sequential(
        nn.Linear(64, 96), nn.LeakyReLU(0.2), nn.Dropout(0.2), nn.Linear(96, 48), nn.LeakyReLU(0.2), nn.Linear(48, 1)
    )
    og = torch.optim.Adam(G.parameters(), lr=1e-3, betas=(0.5, 0.99))
    od = torch.optim.Adam(D.parameters(), lr=5e-4, betas=(0.5, 0.99))
    loader = DataLoader(TensorDataset(xtr), batch_size=48, shuffle=True, drop_last=True)
    with watch([G, D], [og, od]) as w:
        for epoch in range(15):
            for (real,) in loader:
                fake = G(torch.randn(len(real), 12))
                ld = 0.5 * ((D(real) - 1).pow(2).mean() + D(fake.detach()).pow(2).mean())
                od.zero_grad()
                ld.backward()
                od.step()
                lg = 0.5 * (D(fake) - 1).pow(2).mean()
                og.zero_grad()
                lg.backward()
                og.step()
                w.step(loss=ld.item() + lg.item())
    G.eval()
    with torch.no_grad():
        fake = G(torch.randn(len(xva), 12))
    return likeness(fake, xva, torch.rand_like(xva) * 2 - 1)


def hinge_gan_conditional(watch, seed, fault):
    """9. A class-conditional hinge GAN with spectral norm and a projection discriminator."""
    torch.manual_seed(seed)
    xtr, ytr, xva, yva = digits(seed, -1, 1)

    class Gen(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(10, 16)
            self.net = dc_generator(32, 24)

        def forward(self, z, y):
            return self.net(torch.cat([z, self.emb(y)], 1)[:, :, None, None])

    class Disc(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(
                spectral_norm(nn.Conv2d(1, 24, 4, 2, 1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(24, 48, 4, 2, 1)),
                nn.LeakyReLU(0.2),
                nn.Flatten(),
            )
            self.out = spectral_norm(nn.Linear(192, 1))
            self.emb = spectral_norm(nn.Embedding(10, 192))

        def forward(self, x, y):
            h = self.f(x)
            return self.out(h)[:, 0] + (self.emb(y) * h).sum(1)

    G, D = Gen(), Disc()
    og = torch.optim.Adam(G.parameters(), lr=1e-3, betas=(0.0, 0.9))
    od = torch.optim.Adam(D.parameters(), lr=2e-3, betas=(0.0, 0.9))
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=64, shuffle=True, drop_last=True)
    with watch([G, D], [og, od]) as w:
        for epoch in range(14):
            G.train()
            for real, y in loader:
                yf = torch.randint(0, 10, (len(real),))
                fake = G(torch.randn(len(real), 16), yf)
                ld = F.relu(1 - D(real, y)).mean() + F.relu(1 + D(fake.detach(), yf)).mean()
                od.zero_grad()
                ld.backward()
                od.step()
                lg = -D(fake, yf).mean()
                og.zero_grad()
                lg.backward()
                og.step()
                w.step(loss=ld, inputs=real, targets=y)
    G.eval()
    with torch.no_grad():
        fake = G(torch.randn(len(yva), 16), yva)
    return likeness(fake, xva, torch.rand_like(xva) * 2 - 1)


PROGRAMS = [dcgan, wgan_gp, lsgan, hinge_gan_conditional]
