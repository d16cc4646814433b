"""Time of an effective receptive field against one forward and backward pass of the same network and images.

    python benchmarks/effective_field.py [--models resnet18:layer4 ...] [--repeats 5] [--images 4] [--size 224]

The forward + backward is the plain one of training without an optimiser: evaluation mode, sum of the output, gradients
of the weights. Both are run in turn, and the median of the ratios of neighbouring runs is printed.

"""

import argparse
import statistics
import time

import timm
import torch

from snellen.network.effective_field import effective_field

MODELS = ("resnet18:layer4", "resnet50:layer4", "mobilenetv3_large_100:blocks", "convnext_atto:stages")


def main() -> None:
    """Measure and print one line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="network:layer")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = torch.randn(options.images, 3, options.size, options.size)
    print(f"{'network and layer':36}{'fwd + bwd':>10}{'field':>9}{'ratio':>8}   95 % box   fwhm")
    for entry in options.models:
        name, _, layer = entry.partition(":")
        model = timm.create_model(name).eval()
        plain, fields, found = [], [], None
        for _ in range(options.repeats + 1):  # The first is a warm-up.
            start = time.perf_counter()
            model(images).sum().backward()
            middle = time.perf_counter()
            model.zero_grad()
            again = time.perf_counter()
            found = effective_field(model, layer or None, images)
            plain.append(middle - start)
            fields.append(time.perf_counter() - again)
        ratio = statistics.median(f / p for f, p in zip(fields[1:], plain[1:], strict=True))
        median = statistics.median
        told = f"{found.height:.0f} x {found.width:.0f}   {found.fwhm[0]:.0f}" if found else ""
        print(f"{entry:36}{median(plain[1:]):10.3f}{median(fields[1:]):9.3f}{ratio:8.2f}   {told}")


if __name__ == "__main__":
    main()
