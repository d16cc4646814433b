"""The memory that `training_memory` foretells against that of a real training step.

    python benchmarks/training_memory.py [--models resnet18 ...] [--batch 4]

Foretold on the meta device. Measured on this machine in two ways: the distinct storages that autograd saves
(`torch.autograd.graph.saved_tensors_hooks`; parameters and buffers, which are there anyway, taken out), to which
weights, gradients and the state that AdamW really made after one step are added; and the largest sum of bytes of live
tensors during forward, backward and step, by PyTorch's profiler. Prints a line a network; exit code 1 when a foretold
number is more than 10 % off the first.
"""

import argparse
import sys

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from snellen.network.examine import examine
from snellen.network.resolve import load_model

LIMIT = 0.10
MODELS = (
    "resnet18", "resnet50", "vgg16", "densenet121", "inception_v3", "mobilenetv2_100", "mobilenetv3_large_100",
    "efficientnet_b0", "regnety_016", "convnext_tiny", "vit_tiny_patch16_224", "vit_base_patch16_224",
    "swin_tiny_patch4_window7_224", "mixer_s16_224", "cait_xxs24_224", "res2net50_26w_4s", "torchvision:vit_b_16",
    "torchvision:deeplabv3_resnet50", "torchvision:r3d_18",
)  # fmt: skip


def real(name: str) -> nn.Module:
    """The network with weights, ready to train."""
    model = load_model(name).to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            nn.init.normal_(tensor, std=0.02)
        else:
            tensor.zero_()
    for module in model.modules():
        if isinstance(getattr(module, "running_var", None), Tensor):
            module.running_var.fill_(1.0)
    return model.train()


def first(output: object) -> Tensor:
    """One tensor that depends on all the network computes for its output."""
    if isinstance(output, Tensor):
        return output.float().mean()
    values = output.values() if isinstance(output, dict) else output
    return torch.stack([first(v) for v in values]).sum()  # type: ignore[union-attr]


def step_bytes(model: nn.Module, x: Tensor) -> tuple[int, int]:
    """Bytes held at the start of backward plus the optimizer's state, and the profiler's peak."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    optimizer = torch.optim.AdamW(model.parameters())
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = first(model(x))
    loss.backward()
    optimizer.step()
    weights = sum(t.nbytes for t in (*model.parameters(), *model.buffers()))
    gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    state = sum(v.nbytes for s in optimizer.state.values() for v in s.values() if isinstance(v, Tensor))
    del loss
    optimizer.zero_grad()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        first(model(x)).backward()
    level = peak = 0
    for event in seen.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            level += event.nbytes()
            peak = max(peak, level)
    return weights + gradients + state + sum(saved.values()), weights + state + x.nbytes + peak


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args()
    torch.manual_seed(0)
    worst = 0.0
    for name in options.models:
        meta = load_model(name)
        side = (3, 8, 112, 112) if name.endswith("r3d_18") else getattr(meta, "pretrained_cfg", {}).get("input_size")
        shape = tuple(side or (3, 224, 224))
        foretold = examine(meta, (1, *shape)).training_memory(options.batch, "adamw")
        held, peak = step_bytes(real(name), torch.randn(options.batch, *shape))
        off = foretold / held - 1
        worst = max(worst, abs(off))
        print(
            f"{name:32} foretold {foretold / 1e6:8.1f} MB  held {held / 1e6:8.1f} MB ({off:+.1%})"
            f"  peak of live tensors {peak / 1e6:8.1f} MB ({foretold / peak - 1:+.1%})",
            flush=True,
        )
    print(f"{len(options.models)} networks, largest difference {worst:.1%}")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
