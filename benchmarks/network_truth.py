"""MACs of published networks beside PyTorch's FlopCounterMode, in every mode in which a network can be examined.

    python benchmarks/network_truth.py [--models resnet18 tv:r3d_18 ...] [--modes] [--others]

The peer runs on the meta device, without gradients and with PyTorch's fused attention path switched off, the one
setting in which it counts `nn.MultiheadAttention` and does not fail on CaiT. Detectors run on a real image of 800 x
800; untrained, those of two stages pass on as many proposals as they may, which is the bound that `examine` takes.
`--modes` examines each network also in train mode and under `torch.no_grad`: the MACs must be the same. Prints a line
a network and the largest difference; exit code 1 when one is above 0.1 %.
"""

import argparse
import sys
from typing import Any

import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from snellen.network.examine import examine
from snellen.network.resolve import load_model

LIMIT = 1e-3
TIMM = (
    "resnet18", "vit_base_patch16_224", "resnet50", "resnext50_32x4d", "densenet121", "inception_v3",
    "inception_v4", "legacy_xception", "mobilenetv1_100", "mobilenetv2_100", "mobilenetv3_large_100",
    "mobilenetv4_conv_small", "efficientnet_b0", "legacy_senet154", "dpn92", "nasnetalarge", "pnasnet5large",
    "vgg16", "convnext_tiny", "deit3_small_patch16_224", "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256",
    "maxvit_tiny_tf_224", "coatnet_0_rw_224", "regnety_016", "hrnet_w18", "dla34", "ghostnet_100", "repvgg_b0",
    "mixer_b16_224", "res2net50_26w_4s", "resnest50d", "skresnet18", "cspdarknet53", "mobilevit_s",
    "edgenext_small", "poolformer_s12", "pvt_v2_b0", "xcit_tiny_12_p16_224", "cait_xxs24_224", "mvitv2_tiny",
    "halonet26t", "lambda_resnet26t", "botnet26t_256", "efficientformer_l1", "levit_256", "tiny_vit_5m_224",
    "hiera_tiny_224", "fastvit_t8", "volo_d1_224", "gcvit_tiny", "eva02_tiny_patch14_224", "beit_base_patch16_224",
    "convit_tiny", "crossvit_tiny_240", "davit_tiny", "focalnet_tiny_srf", "twins_svt_small", "visformer_tiny",
)  # fmt: skip
TORCHVISION = (
    "alexnet", "googlenet", "squeezenet1_1", "shufflenet_v2_x1_0", "vit_b_16", "swin_t", "swin_v2_t", "maxvit_t",
    "mnasnet1_0", "fcn_resnet50", "deeplabv3_resnet50", "lraspp_mobilenet_v3_large", "raft_small", "r3d_18",
    "mc3_18", "r2plus1d_18", "swin3d_t", "mvit_v2_s", "retinanet_resnet50_fpn", "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large", "fcos_resnet50_fpn", "fasterrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
)  # fmt: skip
OTHERS = (
    "smp:Unet/resnet34", "smp:UnetPlusPlus/resnet18", "smp:FPN/mobilenet_v2", "smp:PSPNet/resnet34",
    "smp:DeepLabV3Plus/resnet34", "smp:Linknet/resnet18", "smp:MAnet/resnet18", "smp:PAN/resnet34",
    "smp:Segformer/resnet34", "transformers:vit", "transformers:resnet", "transformers:segformer", "transformers:swin",
    "transformers:convnext", "transformers:beit", "transformers:dinov2", "transformers:mobilevit",
)  # fmt: skip
"""With `--others`, for an interpreter that has segmentation-models-pytorch and transformers."""
VIDEO = {
    "r3d_18": (16, 112), "mc3_18": (16, 112), "r2plus1d_18": (16, 112), "swin3d_t": (16, 224), "mvit_v2_s": (16, 224),
}  # fmt: skip
"""Frames and their size."""
DETECTORS = tuple(n for n in TORCHVISION if n.startswith(("retinanet", "ssd", "fcos", "fasterrcnn", "maskrcnn")))


def inputs_of(name: str, model: nn.Module) -> tuple[Any, ...]:
    """Positional inputs on the meta device."""
    plain = name.removeprefix("tv:")
    if name in OTHERS:
        side = getattr(getattr(model, "config", None), "image_size", None) or 256
        return (torch.empty(1, 3, side, side, device="meta"),)
    if not name.startswith("tv:"):
        return (torch.empty(1, *model.pretrained_cfg["input_size"], device="meta"),)
    if plain == "raft_small":
        return tuple(torch.empty(1, 3, 128, 128, device="meta") for _ in range(2))
    if plain in VIDEO:
        frames, size = VIDEO[plain]
        return (torch.empty(1, 3, frames, size, size, device="meta"),)
    if plain in torchvision.models.list_models(torchvision.models.segmentation):
        return (torch.empty(1, 3, 520, 520, device="meta"),)
    return (torch.empty(1, 3, 224, 224, device="meta"),)


def counted(model: nn.Module, inputs: tuple[Any, ...]) -> int:
    """MACs by FlopCounterMode."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    trainable = [p for p in model.parameters() if p.requires_grad]
    model.requires_grad_(False)  # Its tracker of modules stops at a parameter that is an argument (CaiT) otherwise.
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for p in trainable:
            p.requires_grad_(True)
    return counter.get_total_flops() // 2


def detector_macs(name: str) -> tuple[int, int]:
    """MACs of a detector on a real image: ours, and FlopCounterMode's."""
    # Nothing suppressed: random weights then pass on as many proposals as they may.
    two_stages = {"rpn_nms_thresh": 1.0} if "rcnn" in name else {}
    plain = name.removeprefix("tv:")
    model = torchvision.models.get_model(plain, weights=None, weights_backbone=None, **two_stages).eval()
    image = torch.rand(3, 800, 800, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model([image])
    return examine(model, ([image],)).macs, counter.get_total_flops() // 2


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=[*TIMM, *(f"tv:{n}" for n in TORCHVISION)])
    parser.add_argument("--modes", action="store_true")
    parser.add_argument("--others", action="store_true")
    options = parser.parse_args()
    worst = 0.0
    chosen = OTHERS if options.others else options.models
    for name in chosen:
        if name.removeprefix("tv:") in DETECTORS:
            mine, theirs = detector_macs(name)
            others: list[int] = []
        else:
            model = load_model(name.replace("tv:", "torchvision:"))
            inputs = inputs_of(name, model)
            mine, theirs, others = examine(model, inputs).macs, counted(model.eval(), inputs), []
            if options.modes:
                with torch.no_grad():
                    others.append(examine(model, inputs).macs)
                others.append(examine(model.train(), inputs).macs)
        off = max(abs(m - theirs) / theirs for m in (mine, *others))
        worst = max(worst, off)
        note = "" if off <= LIMIT else f"  DIFFERS by {off:.2%} {others}"
        print(f"{name:36} {mine / 1e9:10.4f} GMAC  FlopCounterMode {theirs / 1e9:10.4f}{note}", flush=True)
    print(f"{len(chosen)} networks, largest difference {worst:.4%}")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
