"""Pascal VOC: XML files, whole pixels, lists of splits."""

import re

from benchmarks.planted_defects.plant import Registry, Site

VOC = Registry()
plant = VOC.add


def _set(s: Site, **values: object) -> None:
    """Set fields of the first object."""
    path = s.file(f"Annotations/{s.stem}.xml")
    text = path.read_text()
    for name, value in values.items():
        text = re.sub(rf"<{name}>[^<]*</{name}>", f"<{name}>{value}</{name}>", text, count=1)
    path.write_text(text)


def _object(s: Site) -> str:
    """The first object as XML."""
    found = re.search(r"<object>.*?</object>\n", s.file(f"Annotations/{s.stem}.xml").read_text())
    if not found:
        raise ValueError(f"{s.stem} has no object")
    return found[0]


def _add(s: Site, xml: str) -> None:
    s.replace(f"Annotations/{s.stem}.xml", "</annotation>", f"{xml}</annotation>")


@plant("voc", 34, "non-finite-coordinate", also="malformed-label")
def nan_from_pandas(s: Site) -> None:
    """An empty cell of a table became nan."""
    _set(s, xmin="nan")


@plant("voc", 35, "degenerate-box")
def all_corners_zero(s: Site) -> None:
    """A box of 0 0 0 0, as two of the blood cell set have."""
    _set(s, xmin=0, ymin=0, xmax=0, ymax=0)


@plant("voc", 35, "degenerate-box")
def corners_exchanged(s: Site) -> None:
    """xmin and xmax are exchanged."""
    _set(s, xmin=120, xmax=80)


@plant("voc", 37, "box-out-of-bounds")
def box_of_the_larger_picture(s: Site) -> None:
    """The picture was downscaled and one box was not."""
    _set(s, xmin=100, xmax=s.shot.width + 90, ymin=40, ymax=100)


@plant("voc", 38, "box-outside-image")
def all_of_it_outside(s: Site) -> None:
    """A box that lies below the picture."""
    _set(s, xmin=40, xmax=80, ymin=s.shot.height + 30, ymax=s.shot.height + 70)


@plant("voc", 36, "subpixel-box", also="extreme-box-aspect box-size-outlier")
def one_pixel_wide(s: Site) -> None:
    """A box of one pixel's width."""
    _set(s, xmin=50, xmax=51, ymin=40, ymax=70)


@plant("voc", 44, "duplicate-box")
def object_twice(s: Site) -> None:
    """An object stands twice."""
    _add(s, _object(s))


@plant("voc", 45, "conflicting-box")
def object_under_two_names(s: Site) -> None:
    """An object stands twice, under two names."""
    again = _object(s)
    name = "brick" if "<name>leaf" in again else "leaf"
    _add(s, re.sub(r"<name>\w+", f"<name>{name}", again))


@plant("voc", 60, "corrupt-annotation-file")
def xml_cut_off(s: Site) -> None:
    """The file ends in the middle of an object."""
    path = s.file(f"Annotations/{s.stem}.xml")
    path.write_text(path.read_text()[:-60])


@plant("voc", 60, "corrupt-annotation-file")
def bare_ampersand(s: Site) -> None:
    """A path with a bare & was written into the XML."""
    s.replace(f"Annotations/{s.stem}.xml", "<folder>JPEGImages", "<folder>leaves & shells")


@plant("voc", 60, "malformed-label")
def no_bndbox(s: Site) -> None:
    """An object without its box."""
    path = s.file(f"Annotations/{s.stem}.xml")
    path.write_text(re.sub(r"<bndbox>.*?</bndbox>", "", path.read_text(), count=1))


@plant("voc", 60, "malformed-label")
def text_in_a_number(s: Site) -> None:
    """A corner that holds `12px`."""
    _set(s, ymin="12px")


@plant("voc", 60, "malformed-label")
def object_without_name(s: Site) -> None:
    """An object whose class was never chosen."""
    path = s.file(f"Annotations/{s.stem}.xml")
    path.write_text(re.sub(r"<name>\w+</name>", "<name></name>", path.read_text(), count=1))


@plant("voc", 61, "missing-label-file")
def xml_lost(s: Site) -> None:
    """A listed picture whose XML is gone."""
    s.file(f"Annotations/{s.stem}.xml").unlink()


@plant("voc", 62, "missing-image")
def xml_of_a_deleted_picture(s: Site) -> None:
    """The picture was deleted and taken off the list; its XML stayed."""
    s.picture.unlink()
    s.replace("ImageSets/Main/train.txt", f"{s.stem}\n", "")


@plant("voc", 31, "missing-split-target")
def list_names_a_picture_that_never_was(s: Site) -> str:
    """A split list names a picture that has neither file nor XML."""
    with s.file("ImageSets/Main/train.txt").open("a") as lines:
        lines.write("shot_9999\n")
    return "shot_9999"


@plant("voc", 69, "image-size-mismatch")
def size_of_the_camera(s: Site) -> None:
    """The size in the XML is the camera's, not the file's."""
    _set(s, width=4032, height=3024)


@plant("voc", 69, "image-size-mismatch")
def size_zero(s: Site) -> None:
    """A tool that could not read the picture wrote 0 x 0."""
    _set(s, width=0, height=0)


@plant("voc", 70, "near-identical-class-names", alone=True)
def class_with_a_capital(s: Site) -> str:
    """One annotator typed Leaf, the others leaf."""
    for path in sorted((s.root / "Annotations").glob("*.xml"))[::4]:
        path.write_text(path.read_text().replace("<name>leaf<", "<name>Leaf<"))
    return "Leaf"


@plant("voc", 73, "rare-class", alone=True, also="class-missing-in-split")
def typo_in_a_class(s: Site) -> str:
    """A class typed wrongly, once: a class of its own."""
    path = s.file(f"Annotations/{s.stem}.xml")
    path.write_text(re.sub(r"<name>\w+</name>", "<name>lefa</name>", path.read_text(), count=1))
    return "lefa"


@plant("voc", 27, "split-leak-exact", also="image-in-two-splits")
def stem_in_both_lists(s: Site) -> None:
    """A picture is named by train.txt and by val.txt."""
    with s.file("ImageSets/Main/val.txt").open("a") as lines:
        lines.write(f"{s.stem}\n")
