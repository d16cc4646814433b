"""The sign of the house: the letters of Snellen on an eye chart, each drawn on a grid of five by five."""

from markupsafe import Markup

from snellen.report.svg import drawing, element

LETTERS = {
    "S": "M0 0H5V1H1V2H5V5H0V4H4V3H0Z",
    "N": "M0 0H1.45L4 3.2V0H5V5H3.55L1 1.8V5H0Z",
    "E": "M0 0H5V1H1V2H5V3H1V4H5V5H0Z",
    "L": "M0 0H1V4H5V5H0Z",
}
ROWS = (("S", 5.2), ("NE", 3.2), ("LLEN", 1.7))
"""Letters of each line and the side of a fifth of one, in units of the drawing."""


def eye_chart() -> Markup:
    """Three lines, each smaller; a green and a red rule under the last two, as on the wall chart."""
    width, y = 74.0, 0.0
    parts: list[Markup] = []
    for index, (letters, unit) in enumerate(ROWS):
        side, gap = 5 * unit, 2.2 * unit
        x = (width - len(letters) * side - (len(letters) - 1) * gap) / 2
        for letter in letters:
            parts.append(element("path", d=LETTERS[letter], transform=f"translate({x:.1f} {y:.1f}) scale({unit})"))
            x += side + gap
        y += side + 5
        if index:
            rule = "rule-green" if index == 1 else "rule-red"
            parts.append(element("rect", x=4.0, y=y - 2, width=width - 8, height=1.6, class_=rule))
            y += 4
    return drawing(width, y, parts, "Snellen", "eye-chart")
