"""The numbers that other counters report for the same networks, obtained by running them."""

import pytest

from snellen.errors import UseError
from snellen.network.conventions import CONVENTIONS, convention_cost, convention_text
from snellen.network.examine import examine
from snellen.network.resolve import load_model

REPORTED = {
    # fvcore 0.1.5.post20221221, thop 0.1.1.post2209072238, ptflops 0.7.5 (pytorch backend); eval, 1 x 3 x 224 x 224.
    "torchvision:resnet50": (4_111_512_576, 4_133_742_592, 4_132_436_968),
    "torchvision:vit_b_16": (16_867_412_736, 11_286_254_592, 17_606_030_584),
    "mobilenetv2_100": (314_193_216, 300_838_272, 307_006_504),
}


@pytest.mark.parametrize("name", REPORTED)
def test_conventions_give_the_numbers_of_their_tools(name: str) -> None:
    facts = examine(load_model(name), (1, 3, 224, 224))
    assert tuple(convention_cost(facts, c) for c in ("fvcore", "thop", "ptflops")) == REPORTED[name]
    assert convention_cost(facts, "flops") == 2 * convention_cost(facts, "macs") == 2 * facts.macs


def test_unknown_conventions_are_refused_and_known_ones_described() -> None:
    facts = examine(load_model("resnet18"), (1, 3, 64, 64))
    with pytest.raises(UseError, match="convention 'gflops': expected one of macs, flops, fvcore"):
        convention_cost(facts, "gflops")
    assert all(convention_text(name) for name in CONVENTIONS)
