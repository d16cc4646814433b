"""What the network rules say of published architectures: every finding is to be looked at.

    python benchmarks/network_rules_sweep.py [--all] [--real] [NAME ...]

Builds each network on the meta device (with `--real`: with its initial weights), examines it at its usual input size
and prints what fires; without `--all`, what is on by default. The main families should meet silence at error and
warning. Ends with a table of findings per rule. Names are those of `snellen inspect`.
"""

import argparse
import time
from collections import Counter, defaultdict
from pathlib import Path

import timm
import torch

from snellen.errors import UseError
from snellen.findings.engine import judge
from snellen.findings.settings import LoadedSettings, Settings, chosen_rules
from snellen.findings.severity import Severity
from snellen.network.examine import examine
from snellen.network.facts import NetworkFacts
from snellen.network.resolve import load_model

TIMM = (
    "resnet18", "resnet50", "resnet50d", "resnetv2_50", "resnext50_32x4d", "wide_resnet50_2", "seresnet50",
    "skresnet18", "resnest50d", "res2net50_26w_4s", "res2next50", "resnetrs50", "ecaresnet50d", "regnetx_008",
    "regnety_008", "regnetz_b16", "densenet121", "dpn68", "vgg16", "vgg16_bn", "inception_v3", "inception_v4",
    "inception_resnet_v2", "xception41", "nasnetalarge", "pnasnet5large", "mobilenetv1_100", "mobilenetv2_100",
    "mobilenetv3_large_100", "mobilenetv4_conv_small", "efficientnet_b0", "efficientnetv2_s", "tf_efficientnet_b0",
    "mnasnet_100", "fbnetc_100", "spnasnet_100", "ghostnet_100", "ghostnetv2_100", "hardcorenas_a", "lcnet_050",
    "tinynet_a", "mixnet_s", "hrnet_w18", "dla34", "dla60_res2net", "cspresnet50", "cspdarknet53", "darknet53",
    "vovnet39a", "ese_vovnet39b", "selecsls42b", "repvgg_a0", "mobileone_s0", "repghostnet_050", "rexnet_100",
    "gernet_s", "nf_resnet50", "dm_nfnet_f0", "eca_nfnet_l0", "convnext_tiny", "convnextv2_atto",
    "inception_next_tiny", "convmixer_768_32", "focalnet_tiny_srf", "poolformer_s12", "caformer_s18", "fasternet_t0",
    "starnet_s1", "rdnet_tiny", "hgnet_tiny", "hgnetv2_b0", "vit_tiny_patch16_224", "vit_base_patch16_clip_224",
    "deit_small_patch16_224", "deit3_small_patch16_224", "beit_base_patch16_224", "eva02_tiny_patch14_224",
    "cait_xxs24_224", "xcit_nano_12_p16_224", "crossvit_tiny_240", "convit_tiny", "pit_ti_224", "tnt_s_patch16_224",
    "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "twins_svt_small", "pvt_v2_b0", "davit_tiny",
    "maxvit_tiny_tf_224", "maxxvit_rmlp_nano_rw_256", "coatnet_0_rw_224", "coat_tiny", "levit_128", "mobilevit_s",
    "mobilevitv2_050", "edgenext_small", "efficientformer_l1", "efficientformerv2_s0", "efficientvit_b0",
    "efficientvit_m0", "repvit_m1", "fastvit_t8", "visformer_tiny", "mixer_s32_224", "resmlp_12_224", "gmlp_s16_224",
    "sequencer2d_s", "nextvit_small", "hiera_tiny_224", "tiny_vit_5m_224", "mvitv2_tiny", "nest_tiny", "gcvit_xxtiny",
    "botnet26t_256", "halonet26t", "lambda_resnet26t", "eca_botnext26ts_256",
)  # fmt: skip
TORCHVISION = (
    "alexnet", "squeezenet1_0", "googlenet", "shufflenet_v2_x1_0", "resnet50", "vgg11", "mnasnet1_0", "vit_b_32",
    "swin_v2_t", "maxvit_t", "convnext_tiny", "deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large", "fcn_resnet50",
    "lraspp_mobilenet_v3_large", "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "maskrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn", "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn",
    "ssd300_vgg16", "ssdlite320_mobilenet_v3_large",
)  # fmt: skip
NOT_CLASSIFIERS = ("rcnn", "retina", "fcos", "ssd", "deeplab", "fcn", "raspp")


def names() -> list[str]:
    """The main families: those of timm that this version has, and torchvision's."""
    have = set(timm.list_models())
    return [n for n in TIMM if n in have] + [f"torchvision:{n}" for n in TORCHVISION]


def input_side(name: str) -> int:
    """The input size the network was published with."""
    config = None if name.startswith("torchvision:") else timm.get_pretrained_cfg(name)
    if config is not None:
        return int(config.input_size[-1])
    return 299 if "inception" in name else 320 if any(w in name for w in ("rcnn", "retina", "fcos", "ssd")) else 224


def main() -> None:
    """Sweep and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--all", action="store_true", help="the pedantic rules too")
    parser.add_argument("--real", action="store_true", help="timm networks with their initial weights")
    options = parser.parse_args()
    values = Settings(extend_select=("NET",) if options.all else ())
    settings = LoadedSettings(values, "sweep", Path.cwd())
    rules = [r for r in chosen_rules(values) if set(r.needs().values()) == {NetworkFacts}]
    fired: dict[str, Counter[Severity]] = defaultdict(Counter)
    subjects, failed, start = options.names or names(), 0, time.perf_counter()
    for name in subjects:
        torch.manual_seed(0)
        side = input_side(name)
        task = (
            ""
            if any(w in name for w in ("rcnn", "retina", "fcos", "ssd", "deeplab", "fcn", "raspp"))
            else "classification"
        )
        try:
            real = options.real and not name.startswith("torchvision:")
            model = timm.create_model(name) if real else load_model(name)
            facts = examine(model, (1, 3, side, side), name=name, task=task)
        except (UseError, RuntimeError) as error:
            failed += 1
            print(f"{name:34} NOT EXAMINED: {str(error).splitlines()[0]}")
            continue
        found = judge([facts], settings, rules=rules).findings
        for finding in found:
            fired[finding.rule][finding.severity] += 1
            print(f"{name:34} {finding.severity!s:8} {finding.rule:28} {finding.message[:300]}")
    seconds = time.perf_counter() - start
    print(f"\n{len(subjects) - failed} of {len(subjects)} networks examined by {len(rules)} rules in {seconds:.0f} s")
    for rule, counts in sorted(fired.items()):
        print(f"{rule:34} {', '.join(f'{n} {s}' for s, n in counts.items())}")


if __name__ == "__main__":
    main()
