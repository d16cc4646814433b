"""Receptive fields of random small graphs against the gradient, position by position."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tests.network.field_oracle import reached_pixels, told_field

CHANNELS = 4
SIDE = 96


@dataclass(frozen=True)
class Step:
    """One node of a graph: what it does, to which of the nodes before it."""

    kind: str
    inputs: tuple[int, ...]
    options: dict[str, Any]


class Graph(nn.Module):
    """Nodes applied in order, the last is the output. Maximum pooling is averaging where gradients are wanted."""

    def __init__(self, steps: list[Step], averaging: bool = False) -> None:
        super().__init__()
        self.steps = steps
        self.averaging = averaging
        self.weights = nn.ParameterList()
        torch.manual_seed(0)
        for step in steps:
            shape = step.options.get("weight")
            self.weights.append(nn.Parameter(torch.rand(shape or (1,)) + 0.1))

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        for step, weight in zip(self.steps, self.weights, strict=True):
            nodes.append(self.apply_step(step, weight, [nodes[i] for i in step.inputs]))
        return nodes[-1]

    def apply_step(self, step: Step, weight: Tensor, given: list[Tensor]) -> Tensor:
        x, options = given[0], {k: v for k, v in step.options.items() if k != "weight"}
        match step.kind:
            case "conv":
                return F.conv2d(x, weight, **options)
            case "transposed":
                return F.conv_transpose2d(x, weight, **options)
            case "avg":
                return F.avg_pool2d(x, **options)
            case "max":
                if not self.averaging:
                    return F.max_pool2d(x, **options)
                kernel, dilation = options["kernel_size"], options["dilation"]
                filters = torch.ones(x.shape[1], 1, *kernel, dtype=x.dtype)
                stride, padding = options["stride"], options["padding"]
                return F.conv2d(x, filters, None, stride, padding, dilation, groups=x.shape[1])
            case "adaptive":
                rows, columns = x.shape[2:]
                size = (max(2, rows * options["rows"] // 6), max(2, columns * options["columns"] // 6))
                if options["maximum"] and not self.averaging:
                    return F.adaptive_max_pool2d(x, size)
                return F.adaptive_avg_pool2d(x, size)
            case "resize":
                return F.interpolate(x, **options)
            case "shuffle_pixels":
                return F.pixel_shuffle(x, 2).repeat(1, 4, 1, 1)
            case "unshuffle_pixels":
                x = x[..., : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
                return F.conv2d(F.pixel_unshuffle(x, 2), weight)
            case "space_to_depth":
                x = x[..., : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
                n, c, h, w = x.shape
                x = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(n, 4 * c, h // 2, w // 2)
                return F.conv2d(x, weight)
            case "slice":
                top, left, step_size = options["top"], options["left"], options["step"]
                return x[:, :, top::step_size, left:]
            case "pad":
                return F.pad(x, options["pads"], mode=options["mode"])
            case "shuffle_channels":
                return F.channel_shuffle(x, 2)
            case "split":
                one, two = x.chunk(2, 1)
                joined = torch.cat([F.conv2d(one, weight[:2, :2], padding=(1, 1)), two], 1)
                # Channels that see different things are one map: its field is theirs together once they are mixed.
                return F.conv2d(joined, weight[:, :, 1:2, 1:2])
            case "repeat":
                return x.repeat_interleave(2, 2)
            case "spp":
                # Spatial pyramid pooling as detectors have it: the same place through windows of several sizes.
                pool = F.avg_pool2d if self.averaging else F.max_pool2d
                pools = [pool(x, k, 1, k // 2) for k in (3, 5, 9)]
                return F.conv2d(torch.cat([x, *pools], 1), weight)
            case "roll":
                return torch.roll(x, (options["by"], -options["by"]), (2, 3))
            case "norm":
                return x * 0.5 if self.averaging else F.relu(F.batch_norm(x, torch.zeros(4).to(x), torch.ones(4).to(x)))
        rows, columns = (min(t.shape[d] for t in given) for d in (2, 3))
        if step.kind == "match":
            # As feature pyramids do: the coarser map is resized to the finer one's size, whatever the ratio.
            return given[0] + F.interpolate(given[1], given[0].shape[2:], mode=options["mode"])
        cropped = [t[:, :, :rows, :columns] for t in given]
        return cropped[0] + cropped[1] if step.kind == "add" else F.conv2d(torch.cat(cropped, 1), weight)


MARGIN = 12
"""Input pixels at the border that no judged place may see: padding along the way has an end that fields have not."""

KINDS = [
    "conv", "conv", "conv", "transposed", "max", "avg", "adaptive", "resize", "resize", "slice", "pad", "norm", "roll",
    "space_to_depth", "shuffle_pixels", "unshuffle_pixels", "shuffle_channels", "split", "repeat", "spp", "add", "add",
    "concat", "match",
]  # fmt: skip

pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def steps_of(draw: st.DrawFn) -> list[Step]:
    """A graph of two to six nodes with branches."""
    steps: list[Step] = []
    for number in range(draw(st.integers(2, 6))):
        kind = draw(st.sampled_from(KINDS))
        latest = number  # Node 0 is the image.
        inputs: tuple[int, ...] = (latest,)
        options: dict[str, Any] = {}
        if kind == "conv":
            kernel = draw(pairs)
            options = {
                "weight": (CHANNELS, CHANNELS, *kernel),
                "stride": draw(st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 2), (3, 2)])),
                "padding": draw(st.tuples(st.integers(0, 3), st.integers(0, 3))),
                "dilation": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
            }
        elif kind == "transposed":
            # Kernels that cover the stride: where a row has a hole, a sum of maps is no longer told axis by axis.
            stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
            extra, dilation = draw(st.integers(0, 2)), draw(st.integers(1, 2)) if 2 not in stride else 1
            options = {
                "weight": (CHANNELS, CHANNELS, stride[0] + extra, stride[1] + extra), "stride": stride,
                "dilation": dilation, "padding": draw(st.tuples(st.integers(0, 1), st.integers(0, 1))),
            }  # fmt: skip
        elif kind in ("max", "avg"):
            kernel = draw(st.tuples(st.integers(2, 4), st.integers(2, 4)))
            options = {
                "kernel_size": kernel,
                "stride": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
                "padding": (1, draw(st.integers(0, 1))),
            }
            if kind == "max":
                options["dilation"] = draw(st.integers(1, 2))
            else:
                options["ceil_mode"] = draw(st.booleans())
        elif kind == "adaptive":
            options = {
                "rows": draw(st.integers(2, 7)),
                "columns": draw(st.integers(2, 7)),
                "maximum": draw(st.booleans()),
            }
        elif kind == "resize":
            mode = draw(st.sampled_from(["nearest", "nearest-exact", "bilinear", "bicubic"]))
            options = {"mode": mode, "scale_factor": draw(st.sampled_from([2, 3, 4, 1.5, 0.5, 0.75]))}
            if mode.startswith("bi"):
                options["align_corners"] = draw(st.booleans())
                options["antialias"] = draw(st.booleans()) and not options["align_corners"]
        elif kind == "slice":
            options = {"top": draw(st.integers(0, 3)), "left": draw(st.integers(0, 3)), "step": draw(st.integers(1, 3))}
        elif kind == "pad":
            pads = draw(st.tuples(*[st.integers(0, 3)] * 4))
            options = {"pads": pads, "mode": draw(st.sampled_from(["constant", "reflect", "replicate"]))}
        elif kind in ("space_to_depth", "unshuffle_pixels"):
            size = 2 if kind == "space_to_depth" else 1
            options = {"weight": (CHANNELS, 4 * CHANNELS, size, size)}
        elif kind == "split":
            options = {"weight": (CHANNELS, CHANNELS, 3, 3)}
        elif kind == "spp":
            options = {"weight": (CHANNELS, 4 * CHANNELS, 1, 1)}
        elif kind == "roll":
            options = {"by": draw(st.integers(-3, 3))}
        elif kind in ("add", "concat", "match"):
            inputs = (latest, draw(st.integers(0, latest)))
            options = (
                {"weight": (CHANNELS, 2 * CHANNELS, 1, 1)}
                if kind == "concat"
                else {"mode": draw(st.sampled_from(["nearest", "bilinear"]))}
            )
        steps.append(Step(kind, inputs, options))
    return steps


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps_of())
def test_random_graphs_see_what_the_gradient_reaches(steps: list[Step]) -> None:
    shape = (1, CHANNELS, SIDE, SIDE)
    try:
        sizes = Graph(steps).to("meta")(torch.zeros(shape, device="meta")).shape
    except RuntimeError:
        return  # The map became too small for the next step.
    if min(sizes[2:]) < 2 or max(sizes[2:]) > 2 * SIDE:
        return
    field = told_field(Graph(steps), shape)
    assert field is not None
    assert field.reach == "local"
    places = [(sizes[2] // 2 + d, sizes[3] // 2 + d) for d in range(-3, 4)]
    places = [(i, j) for i, j in places if 0 <= i < sizes[2] and 0 <= j < sizes[3]]
    for (i, j), hulls in zip(places, reached_pixels(Graph(steps, averaging=True), shape, places), strict=True):
        told = field.h.at(i), field.w.at(j)
        # Near the border the image ends what an infinite one would continue.
        if all(low >= MARGIN and high < SIDE - MARGIN for low, high in told):
            assert told == hulls


def test_a_transposed_convolution_can_leave_rows_that_see_nothing() -> None:
    step = Step("transposed", (0,), {"weight": (CHANNELS, CHANNELS, 1, 2), "stride": (2, 2), "padding": (0, 0)})
    field = told_field(Graph([step]), (1, CHANNELS, 8, 8))
    assert field is not None
    assert (field.h.sizes, field.w.sizes) == ([1, 0], [1, 1])
    assert reached_pixels(Graph([step]), (1, CHANNELS, 8, 8), [(4, 4), (5, 4)]) == [((2, 2), (2, 2)), None]
