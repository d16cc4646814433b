"""CSV tables of boxes: plain, and as Open Images writes them."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.planted_defects.plant import Registry, Site

CSV = Registry()
plant = CSV.add
PLAIN, OPEN = "train_labels.csv", "train-annotations-bbox.csv"
X1, Y1, X2, Y2 = 4, 5, 6, 7
"""Columns of the plain table."""


@contextmanager
def _table(s: Site, name: str = PLAIN) -> Iterator[tuple[list[list[str]], list[list[str]]]]:
    """All rows of the table, and those of the plant's picture."""
    path = s.file(name)
    rows = list(csv.reader(path.read_text().splitlines()))
    yield rows, [row for row in rows if row and row[0].split(".")[0] == s.stem]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    path.write_text(out.getvalue())


@plant("csv", 34, "non-finite-coordinate", also="malformed-label")
def nan_cell(s: Site) -> None:
    """pandas wrote NaN."""
    with _table(s) as (_, mine):
        mine[0][X1] = "NaN"


@plant("csv", 35, "degenerate-box")
def xmin_is_xmax(s: Site) -> None:
    """Both columns were filled from the same field."""
    with _table(s) as (_, mine):
        mine[0][X2] = mine[0][X1]


@plant("csv", 35, "degenerate-box")
def dragged_from_below(s: Site) -> None:
    """ymin is larger than ymax."""
    with _table(s) as (_, mine):
        mine[0][Y1], mine[0][Y2] = mine[0][Y2], mine[0][Y1]


@plant("csv", 37, "box-out-of-bounds")
def beyond_the_bottom(s: Site) -> None:
    """A box that ends 60 px below the picture."""
    with _table(s) as (_, mine):
        mine[0][Y2] = str(s.shot.height + 60)


@plant("csv", 38, "box-outside-image")
def left_of_the_picture(s: Site) -> None:
    """A box with negative corners."""
    with _table(s) as (_, mine):
        mine[0][X1], mine[0][X2] = "-90", "-40"


@plant("csv", 44, "duplicate-box")
def row_again(s: Site) -> None:
    """Two tables were concatenated, and a row is in both."""
    with _table(s) as (rows, mine):
        rows.append(mine[0][:])


@plant("csv", 45, "conflicting-box")
def row_under_two_classes(s: Site) -> None:
    """A box under two classes."""
    with _table(s) as (rows, mine):
        again = mine[0][:]
        again[3] = "brick" if again[3] == "leaf" else "leaf"
        rows.append(again)


@plant("csv", 60, "malformed-label")
def cells_missing(s: Site) -> str:
    """A row that ends after the class."""
    with _table(s) as (rows, mine):
        del mine[0][4:]
        return f"{rows.index(mine[0]) + 1}"


@plant("csv", 60, "malformed-label")
def decimal_comma(s: Site) -> None:
    """A German spreadsheet wrote 12,5."""
    with _table(s) as (_, mine):
        mine[0][X1] = "12,5"


@plant("csv", 60, "malformed-label", also="missing-image rare-class class-missing-in-split")
def header_in_the_middle(s: Site) -> str:
    """Two files were appended with `cat`: the second header stands among the rows."""
    with _table(s) as (rows, _):
        rows.insert(40, rows[0][:])
    return "filename"


@plant("csv", 60, "malformed-label", also="rare-class class-missing-in-split")
def class_left_empty(s: Site) -> None:
    """A row without a class."""
    with _table(s) as (_, mine):
        mine[0][3] = ""


@plant("csv", 63, "missing-image")
def picture_renamed(s: Site) -> None:
    """The picture was renamed and the table was not."""
    s.picture.unlink()


@plant("csv", 22, "unsafe-path", also="missing-image")
def path_of_another_machine(s: Site) -> None:
    """Absolute paths of the machine on which the table was made."""
    with _table(s) as (_, mine):
        for row in mine:
            row[0] = f"/home/ann/data/{s.stem}.jpg"


@plant("csv", 69, "image-size-mismatch")
def sides_exchanged(s: Site) -> None:
    """The columns width and height are exchanged for one picture."""
    with _table(s) as (_, mine):
        for row in mine:
            row[1:3] = row[2:0:-1]


@plant("csv", 40, "swapped-box-layout", alone=True)
def sides_under_the_names_of_corners(s: Site) -> str:
    """xmax and ymax hold the width and the height."""
    for name in (PLAIN, "val_labels.csv"):
        with _table(s, name) as (rows, _):
            for row in rows[1:]:
                row[X2], row[Y2] = str(int(row[X2]) - int(row[X1])), str(int(row[Y2]) - int(row[Y1]))
    return ""


@plant("csv", 70, "near-identical-class-names", alone=True)
def class_with_a_blank(s: Site) -> str:
    """`shell` and `Shell` in one column."""
    with _table(s) as (rows, _):
        for row in [r for r in rows if r[3] == "shell"][::2]:
            row[3] = "Shell"
    return "Shell"


@plant("open-images", 35, "degenerate-box")
def fractions_exchanged(s: Site) -> None:
    """XMin is larger than XMax."""
    with _table(s, OPEN) as (_, mine):
        mine[0][4], mine[0][5] = mine[0][5], mine[0][4]


@plant("open-images", 37, "box-out-of-bounds")
def fraction_above_one(s: Site) -> None:
    """A fraction of 1.2."""
    with _table(s, OPEN) as (_, mine):
        mine[0][5] = "1.200000"


@plant("open-images", 39, "box-outside-image", also="box-out-of-bounds")
def pixels_in_one_row(s: Site) -> None:
    """One row in pixels among fractions."""
    with _table(s, OPEN) as (_, mine):
        mine[0][4:8] = ["60", "90", "50", "80"]


@plant("open-images", 64, "malformed-label")
def label_without_description(s: Site) -> str:
    """A machine id that the descriptions do not name."""
    with _table(s, OPEN) as (_, mine):
        mine[0][2] = "/m/0zzzz"
    return "/m/0zzzz"


@plant("open-images", 63, "missing-image")
def picture_withdrawn(s: Site) -> None:
    """The picture was withdrawn by its owner and could not be downloaded."""
    s.picture.unlink()


@plant("open-images", 34, "non-finite-coordinate", also="malformed-label")
def infinite_fraction(s: Site) -> None:
    """A division by a width of 0."""
    with _table(s, OPEN) as (_, mine):
        mine[0][5] = "inf"


@plant("open-images", 44, "duplicate-box")
def two_sources_of_one_box(s: Site) -> None:
    """A box was verified by two sources and both rows stayed."""
    with _table(s, OPEN) as (rows, mine):
        rows.append([mine[0][0], "activemil", *mine[0][2:]])
