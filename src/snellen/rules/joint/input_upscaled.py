"""See InputUpscaled."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.network.facts import NetworkFacts
from snellen.rules.joint._scale import image_sides


class InputUpscaled(Rule):
    """The network's input is far larger than the images.

    ## What it does
    Reports an input size that blows the images up by more than the limit.

    ## Why is this bad?
    Upscaling adds no information, and cost grows with the square: four times the side is sixteen times the work.

    ## How it is computed
    The input's longer side over the median longer side of the images, against `factor`.

    ## Example
        input-upscaled  8 px images at 224 px input: 784 times the pixels

    ## Fix
    Use a smaller input, and a network with fewer strides.

    ## Known false positives
    Fine-tuning a network that was pretrained at the larger size.

    ## References
    Touvron et al. 2019, Fixing the train-test resolution discrepancy, arXiv:1906.06423.
    """

    name = "input-upscaled"
    code = "NET105"
    category = Category.PERFORMANCE
    tier = Tier.HEADERS

    class Options(RuleOptions):
        """Thresholds."""

        factor: float = 5.0
        """Times the median image side; four is what small-image practice (8 to 32 px) uses."""

    def check(self, data: DataFacts, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        sides = image_sides(data)["long"]
        if sides.is_empty():
            return
        median = float(sides.median())  # type: ignore[arg-type]
        side = max(network.input_shape[-2:])
        times = side / median
        if times > self.options.factor:
            yield Finding(
                message=f"the input of {side} px is {times:.1f} times the median image side of {median:.0f} px (limit"
                f" {self.options.factor:g}): {times * times:.0f} times the pixels, and no more to see",
                evidence={"input": side, "median_side": median},
                affected=len(sides),
                of=data.images.height,
            )
