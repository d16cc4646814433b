"""Sound programs: keypoint heatmaps to keypoint heatmaps."""

import numpy as np
import torch
import torch.nn.functional as F
from benchmarks.chart.sound.scenes_parts import UNet
from torch.utils.data import DataLoader, TensorDataset


def stick_figures(n, size, seed):
    """Three coloured joints joined by grey sticks; the joints are the key points (x, y in pixels)."""
    rng = np.random.default_rng(seed)
    xs = np.zeros((n, 3, size, size), np.float32)
    ks = np.zeros((n, 3, 2), np.float32)
    yy, xx = np.mgrid[0:size, 0:size]
    for i in range(n):
        p = rng.uniform(4, size - 5, (3, 2))
        for a, b in ((0, 1), (1, 2)):
            for s in np.linspace(0, 1, 40):
                q = p[a] * (1 - s) + p[b] * s
                xs[i, :, int(round(q[1])), int(round(q[0]))] = 0.5
        for k in range(3):
            m = (yy - p[k, 1]) ** 2 + (xx - p[k, 0]) ** 2 <= 4.5
            xs[i][:, m] = 0.1
            xs[i, k][m] = 1.0
        ks[i] = p
    xs += rng.normal(0, 0.05, xs.shape).astype(np.float32)
    return torch.from_numpy((xs - 0.08) / 0.2), torch.from_numpy(ks)


def keypoint_heatmaps(watch, seed, fault):
    """19. Key points as Gaussian heat maps with a per-pixel MSE scaled up, decoded by argmax; PCK at 2 pixels."""
    torch.manual_seed(seed)
    S = 32
    xtr, ktr = stick_figures(520, S, seed + 14)
    xva, kva = stick_figures(150, S, seed + 10_014)

    def maps(k):
        yy, xx = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="ij")
        d = (xx - k[..., 0, None, None]) ** 2 + (yy - k[..., 1, None, None]) ** 2
        return torch.exp(-d / (2 * 1.5**2))

    htr, hva = maps(ktr), maps(kva)
    model = UNet(3, 3, w=5)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    loader = DataLoader(TensorDataset(xtr, htr), batch_size=20, shuffle=True)
    pck = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(5):
            model.train()
            run = 0.0
            for x, h in loader:
                optimizer.zero_grad()
                out = model(x)
                loss = 100 * F.mse_loss(out, h)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=h, outputs=out)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                out = model(xva)
                vl = 100 * F.mse_loss(out, hva).item()
                idx = out.flatten(2).argmax(-1)
                pred = torch.stack([idx % S, idx // S], -1).float()
                pck = ((pred - kva).norm(dim=-1) < 2).float().mean().item()
            w.epoch(train={"loss": run}, val={"loss": vl, "pck": pck})
    return pck


PROGRAMS = [keypoint_heatmaps]
