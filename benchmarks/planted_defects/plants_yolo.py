"""YOLO label files: boxes, polygons, oriented boxes and poses, and their data.yaml."""

import numpy as np
from benchmarks.planted_defects.clean import CLASSES
from benchmarks.planted_defects.plant import REFUSED, Registry, Site
from PIL import Image

YOLO = Registry()
plant = YOLO.add


@plant("yolo", 34, "non-finite-coordinate")
def nan_in_a_row(s: Site) -> None:
    """A division by a width of 0 in the converter left `nan`."""
    with s.rows() as rows:
        rows[0][1] = "nan"


@plant("yolo", 35, "degenerate-box")
def click_instead_of_drag(s: Site) -> None:
    """A click in the annotation tool: a box without width and height."""
    with s.rows() as rows:
        rows[0][3:] = ["0.000000", "0.000000"]


@plant("yolo", 35, "degenerate-box")
def corners_in_the_wrong_order(s: Site) -> None:
    """A box drawn from right to left: its width is negative."""
    with s.rows() as rows:
        rows[0][3] = f"-{rows[0][3]}"


@plant("yolo", 36, "subpixel-box", also="extreme-box-aspect box-size-outlier")
def hairline(s: Site) -> None:
    """A box of half a pixel's width."""
    with s.rows() as rows:
        rows[0][3] = "0.002000"


@plant("yolo", 37, "box-out-of-bounds")
def right_edge_at_115_percent(s: Site) -> None:
    """A box that was dragged past the right edge and never clipped; every number is within 0..1."""
    with s.rows() as rows:
        rows[0][1:] = ["0.900000", "0.500000", "0.500000", "0.300000"]


@plant("yolo", 37, "box-out-of-bounds")
def negative_top(s: Site) -> None:
    """A tracker's box that leaves the picture at the top."""
    with s.rows() as rows:
        rows[0][1:] = ["0.400000", "0.010000", "0.200000", "0.250000"]


@plant("yolo", 38, "box-outside-image")
def of_the_neighbouring_tile(s: Site) -> None:
    """A large picture was cut into tiles, and a box of the tile to the left was kept."""
    with s.rows() as rows:
        rows[0][1:] = ["-0.400000", "0.500000", "0.150000", "0.200000"]


@plant("yolo", 39, "unnormalized-coordinates")
def pixels_instead_of_fractions(s: Site) -> None:
    """One file was converted without the division by the picture's size."""
    with s.rows() as rows:
        for row in rows:
            sides = (s.shot.width, s.shot.height) * 2
            row[1:] = [f"{float(v) * side:.1f}" for v, side in zip(row[1:], sides, strict=True)]


@plant("yolo", 40, "swapped-box-layout", alone=True)
def corners_instead_of_centres(s: Site) -> str:
    """The whole set was exported as x1 y1 x2 y2."""
    for path in sorted((s.root / "labels").rglob("*.txt")):
        rows = [line.split() for line in path.read_text().splitlines()]
        for row in rows:
            x, y, w, h = map(float, row[1:])
            row[1:] = [f"{v:.6f}" for v in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)]
        path.write_text("".join(" ".join(row) + "\n" for row in rows))
    return ""


@plant("yolo", 42, "full-frame-box", also="box-size-outlier")
def box_of_the_whole_picture(s: Site) -> None:
    """A picture-level label that was stored as a box: 0.5 0.5 1 1."""
    with s.rows() as rows:
        rows[0][1:] = ["0.500000", "0.500000", "1.000000", "1.000000"]


@plant("yolo", 43, "extreme-box-aspect", also="box-size-outlier")
def strip(s: Site) -> None:
    """A slip of the mouse: a box of 240 x 4 px."""
    with s.rows() as rows:
        rows[0][1:] = ["0.500000", "0.970000", "0.940000", "0.020000"]


@plant("yolo", 44, "duplicate-box")
def row_twice(s: Site) -> None:
    """Two exports were appended: every row stands twice."""
    with s.rows() as rows:
        rows += [row[:] for row in rows]


@plant("yolo", 44, "duplicate-box")
def drawn_twice(s: Site) -> None:
    """An object was drawn anew and the first box stayed: they lie a percent of their sides apart."""
    with s.rows() as rows:
        x, y, w, h = map(float, rows[0][1:])
        rows.append([rows[0][0], *(f"{v:.6f}" for v in (x + 0.01 * w, y - 0.01 * h, w, h))])


@plant("yolo", 45, "conflicting-box")
def two_names_for_one_object(s: Site) -> None:
    """Two annotators named the same object differently."""
    with s.rows() as rows:
        rows.append([str((int(rows[0][0]) + 1) % 3), *rows[0][1:]])


@plant("yolo", 46, "box-size-outlier")
def zoomed_out_while_drawing(s: Site) -> None:
    """A box many times as large as the class's others."""
    with s.rows() as rows:
        rows[0][1:] = ["0.500000", "0.500000", "0.900000", "0.900000"]


@plant("yolo", 47, "identical-box-sizes", alone=True)
def point_labels_with_a_fixed_box(s: Site) -> str:
    """Points were labelled, and every one became a box of 32 x 32 px."""
    for path in sorted((s.root / "labels").rglob("*.txt")):
        image = next((s.root / "images").rglob(f"{path.stem}.jpg"))
        with Image.open(image) as opened:
            w, h = opened.size
        rows = [line.split() for line in path.read_text().splitlines()]
        path.write_text("".join(f"{' '.join(row[:3])} {32 / w:.6f} {32 / h:.6f}\n" for row in rows))
    return ""


@plant("yolo", 48, "crowded-image", also="box-size-outlier")
def flock(s: Site) -> None:
    """A picture with 380 objects where the others have five."""
    with s.rows() as rows:
        rows[:] = [
            ["0", f"{(c + 0.5) / 20:.6f}", f"{(r + 0.5) / 19:.6f}", f"{0.03 + 0.01 * ((c + r) % 2):.6f}", "0.040000"]
            for c in range(20) for r in range(19)
        ]  # fmt: skip


@plant("yolo", 49, "box-touching-border", alone=True)
def boxes_extended_to_the_edge(s: Site) -> str:
    """A tool extended boxes to the edge of the picture."""
    for path in sorted((s.root / "labels").rglob("*.txt")):
        rows = [line.split() for line in path.read_text().splitlines()]
        for row in rows:
            x, w = float(row[1]), float(row[3])
            right = x + w / 2
            row[1], row[3] = f"{right / 2:.6f}", f"{right:.6f}"
        path.write_text("".join(" ".join(row) + "\n" for row in rows))
    return ""


@plant("yolo", 60, "malformed-label")
def column_lost(s: Site) -> None:
    """A row without its height."""
    with s.rows() as rows:
        rows[0].pop()


@plant("yolo", 60, "malformed-label")
def confidence_at_the_end(s: Site) -> None:
    """Predictions were kept as labels: a sixth column with the score."""
    with s.rows() as rows:
        for row in rows:
            row.append("0.871000")


@plant("yolo", 60, "malformed-label")
def header_line(s: Site) -> None:
    """A spreadsheet wrote its header into the file."""
    with s.rows() as rows:
        rows.insert(0, ["class", "x_center", "y_center", "width", "height"])


@plant("yolo", 60, "malformed-label")
def commas_for_spaces(s: Site) -> None:
    """The rows are separated by commas."""
    path = s.file(f"{s.stem}.txt")
    path.write_text(path.read_text().replace(" ", ","))


@plant("yolo", 60, "malformed-label")
def saved_as_utf16(s: Site) -> None:
    """An editor on Windows saved the file as "Unicode", which is UTF-16."""
    path = s.file(f"{s.stem}.txt")
    path.write_bytes(path.read_text().encode("utf-16"))


@plant("yolo", 60, "mixed-label-rows")
def polygon_among_boxes(s: Site) -> None:
    """A segmentation export was merged into a set of boxes: one row is a polygon."""
    ring = s.shot.things[0].ring / (s.shot.width, s.shot.height)
    with s.rows() as rows:
        rows[0][1:] = [f"{v:.6f}" for v in ring.ravel()]


@plant("yolo", 61, "missing-label-file")
def label_file_lost(s: Site) -> None:
    """The label file was deleted, though the picture has objects."""
    s.file(f"{s.stem}.txt").unlink()


@plant("yolo", 62, "orphan-label")
def picture_deleted_label_kept(s: Site) -> None:
    """A bad picture was deleted and its label file stayed."""
    s.picture.unlink()


@plant("yolo", 64, "unknown-class-id")
def ids_counted_from_one(s: Site) -> None:
    """A converter counted the classes from 1: the last is one too high."""
    with s.rows() as rows:
        rows[0][0] = "3"


@plant("yolo", 65, "malformed-label")
def fractional_class(s: Site) -> None:
    """Columns shifted by one: the class is 0.53."""
    with s.rows() as rows:
        rows[0][0] = "0.53"


@plant("yolo", 65, "unknown-class-id")
def negative_class(s: Site) -> None:
    """A class that the converter did not find: -1."""
    with s.rows() as rows:
        rows[0][0] = "-1"


@plant("yolo", 71, "malformed-label", alone=True)
def nc_of_another_set(s: Site) -> str:
    """A data.yaml taken over from another set: nc: 80 with three names."""
    s.replace("data.yaml", "names:", "nc: 80\nnames:")
    return "data.yaml"


@plant("yolo", 71, "missing-split-target", alone=True)
def val_folder_of_another_machine(s: Site) -> str:
    """data.yaml names a validation folder that is not there."""
    s.replace("data.yaml", "val: images/val", "val: images/validation")
    return "validation"


@plant("yolo", 71, "no-validation-split", alone=True)
def validation_instead_of_val(s: Site) -> str:
    """data.yaml says `validation:` where trainers look for `val:`."""
    s.replace("data.yaml", "val: ", "validation: ")
    return ""


@plant("yolo", 71, REFUSED, alone=True)
def tab_in_the_yaml(s: Site) -> str:
    """An editor put a tab into data.yaml."""
    s.replace("data.yaml", "  1: brick", "\t1: brick")
    return "data.yaml"


@plant("yolo", 71, "symlink-placeholder", alone=True, also="missing-split-target missing-image orphan-label")
def link_checked_out_as_text(s: Site) -> str:
    """`images` was a link in the repository; git on Windows checked it out as a text file that holds the target."""
    (s.root / "images").rename(s.root / "pictures")
    (s.root / "images").write_text("pictures")
    return "images"


@plant("yolo", 72, "unused-class", alone=True)
def class_never_drawn(s: Site) -> str:
    """A class of the list that nobody ever drew."""
    s.replace("data.yaml", "  2: shell\n", "  2: shell\n  3: pebble\n")
    return "pebble"


@plant("yolo", 73, "rare-class", alone=True)
def class_of_two_pictures(s: Site) -> str:
    """A class added late: two boxes of it in all, one a split."""
    s.replace("data.yaml", "  2: shell\n", "  2: shell\n  3: pebble\n")
    for split in ("train", "val"):
        path = next(p for p in sorted((s.root / "labels" / split).iterdir()) if p.read_text())
        path.write_text("3" + path.read_text()[1:])
    return "pebble"


@plant("yolo", 76, "class-order-differs", alone=True)
def two_lists_of_classes(s: Site) -> str:
    """labelImg wrote a classes.txt into each split; the annotators had typed the classes in another order."""
    for split, order in (("train", CLASSES), ("val", CLASSES[::-1])):
        (s.root / "labels" / split / "classes.txt").write_text("".join(f"{name}\n" for name in order))
    return "classes.txt"


@plant("yolo", 77, "no-background-images", alone=True)
def no_picture_without_objects(s: Site) -> str:
    """Pictures without objects were thrown away."""
    for path in sorted((s.root / "labels").rglob("*.txt")):
        if not path.read_text():
            path.unlink()
            next((s.root / "images").rglob(f"{path.stem}.jpg")).unlink()
    return ""


@plant("yolo", 79, "suspicious-unlabelled", also="near-duplicate-image")
def neighbour_left_unlabelled(s: Site) -> str:
    """Two frames of a fixed camera, a cloud apart: one has its boxes, the other an empty label file."""
    rng = np.random.default_rng(8)
    values = 0.93 * s.pixels() + rng.normal(0, 4, s.pixels().shape)
    Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(s.picture.with_name(f"{s.stem}_next.jpg"))
    s.file(f"{s.stem}.txt").with_name(f"{s.stem}_next.txt").write_text("")
    return f"{s.stem}_next"


@plant("yolo", 84, "objects-in-one-place", alone=True, also="identical-box-sizes duplicate-box conflicting-box")
def crops_centred_on_the_object(s: Site) -> str:
    """The pictures were cropped around their objects: all lie in the middle."""
    rng = np.random.default_rng(9)
    for path in sorted((s.root / "labels").rglob("*.txt")):
        rows = [line.split() for line in path.read_text().splitlines()][:1]
        for row in rows:
            row[1:] = [f"{v:.6f}" for v in (*rng.normal(0.5, 0.01, 2), *rng.uniform(0.75, 0.9, 2))]
        path.write_text("".join(" ".join(row) + "\n" for row in rows))
    return ""


@plant("yolo", 84, "object-drift", alone=True)
def val_from_another_distance(s: Site) -> str:
    """Validation was photographed from twice as far away."""
    for path in sorted((s.root / "labels" / "val").rglob("*.txt")):
        rows = [line.split() for line in path.read_text().splitlines()]
        for row in rows:
            row[3:] = [f"{float(v) / 2:.6f}" for v in row[3:]]
        path.write_text("".join(" ".join(row) + "\n" for row in rows))
    return ""


@plant("yolo", 82, "label-drift", alone=True)
def val_of_another_season(s: Site) -> str:
    """In validation most bricks are gone and shells abound."""
    for path in sorted((s.root / "labels" / "val").rglob("*.txt")):
        rows = [line.split() for line in path.read_text().splitlines()]
        for k, row in enumerate(rows):
            row[0] = "2" if row[0] == "1" and (k or row[1] > "0.4") else row[0]
        path.write_text("".join(" ".join(row) + "\n" for row in rows))
    return ""


@plant("yolo", 83, "image-drift", alone=True)
def val_at_dusk(s: Site) -> str:
    """Validation was photographed at dusk."""
    for path in sorted((s.root / "images" / "val").rglob("*.jpg")):
        with Image.open(path) as image:
            values = np.asarray(image, np.float64) * 0.6
        Image.fromarray(values.astype(np.uint8)).save(path, quality=90)
    return ""


@plant("yolo-segments", 50, "self-intersecting-polygon", also="degenerate-polygon")
def bow_tie(s: Site) -> None:
    """Two vertices in the wrong order: the outline crosses itself."""
    with s.rows() as rows:
        row = rows[0]
        row[3:5], row[5:7] = row[5:7], row[3:5]


@plant("yolo-segments", 50, "degenerate-polygon")
def vertices_on_a_line(s: Site) -> None:
    """A polygon whose vertices lie on one line."""
    with s.rows() as rows:
        rows[0][1:] = ["0.2", "0.2", "0.3", "0.3", "0.4", "0.4", "0.5", "0.5"]


@plant("yolo-segments", 60, "malformed-label")
def half_a_vertex(s: Site) -> None:
    """A row that was cut off in the middle of a vertex: an odd number of coordinates."""
    with s.rows() as rows:
        rows[0].pop()


@plant("yolo-segments", 60, "mixed-label-rows")
def box_among_polygons(s: Site) -> None:
    """One object was left a box."""
    with s.rows() as rows:
        rows[0][1:] = ["0.4", "0.4", "0.2", "0.2"]


@plant("yolo-segments", 37, "box-out-of-bounds")
def polygon_past_the_edge(s: Site) -> None:
    """A polygon that was moved past the left edge."""
    with s.rows() as rows:
        xs = [float(v) for v in rows[0][1::2]]
        move = min(xs) + (max(xs) - min(xs)) * 0.6
        rows[0][1::2] = [f"{x - move:.6f}" for x in xs]


@plant("yolo-segments", 34, "non-finite-coordinate")
def infinite_vertex(s: Site) -> None:
    """A vertex that a projection sent to infinity."""
    with s.rows() as rows:
        rows[0][3] = "inf"


@plant("yolo-segments", 54, "boxes-drawn-as-masks", alone=True)
def boxes_exported_as_polygons(s: Site) -> str:
    """A set of boxes was exported as polygons of four corners (and a fifth that closes them)."""
    for path in sorted((s.root / "labels").rglob("*.txt")):
        rows = [line.split() for line in path.read_text().splitlines()]
        for row in rows:
            xs, ys = [float(v) for v in row[1::2]], [float(v) for v in row[2::2]]
            x1, y1, x2, y2 = min(xs), min(ys), max(xs), max(ys)
            row[1:] = [f"{v:.6f}" for v in (x1, y1, x2, y1, x2, y2, x1, y2, x1, y1)]
        path.write_text("".join(" ".join(row) + "\n" for row in rows))
    return ""


@plant("yolo-obb", 59, "skewed-oriented-box")
def one_corner_dragged(s: Site) -> None:
    """One corner of an oriented box was dragged away: it is no rectangle."""
    with s.rows() as rows:
        rows[0][1] = f"{float(rows[0][1]) + 0.07:.6f}"


@plant("yolo-obb", 59, "unrotated-oriented-boxes", alone=True)
def upright_boxes_as_corners(s: Site) -> str:
    """Upright boxes were exported as oriented ones."""
    for path in sorted((s.root / "labels").rglob("*.txt")):
        rows = [line.split() for line in path.read_text().splitlines()]
        for row in rows:
            xs, ys = [float(v) for v in row[1::2]], [float(v) for v in row[2::2]]
            x1, y1, x2, y2 = min(xs), min(ys), max(xs), max(ys)
            row[1:] = [f"{v:.6f}" for v in (x1, y1, x2, y1, x2, y2, x1, y2)]
        path.write_text("".join(" ".join(row) + "\n" for row in rows))
    return ""


@plant("yolo-obb", 60, "malformed-label")
def angle_instead_of_corners(s: Site) -> None:
    """A row of centre, size and angle among rows of corners."""
    with s.rows() as rows:
        rows[0][1:] = ["0.4", "0.4", "0.2", "0.1", "0.785398"]


@plant("yolo-obb", 37, "box-out-of-bounds")
def rotated_past_the_edge(s: Site) -> None:
    """A rotated box of which a third lies outside."""
    with s.rows() as rows:
        xs = [float(v) for v in rows[0][1::2]]
        move = min(xs) + (max(xs) - min(xs)) * 0.4
        rows[0][1::2] = [f"{x - move:.6f}" for x in xs]


@plant("yolo-obb", 44, "duplicate-box")
def oriented_twice(s: Site) -> None:
    """The same oriented box in two rows."""
    with s.rows() as rows:
        rows.append(rows[0][:])


@plant("yolo-pose", 58, "keypoint-outside-box")
def point_on_another_object(s: Site) -> None:
    """A keypoint was set on another object, far from the box."""
    with s.rows() as rows:
        rows[0][5:7] = ["0.980000" if float(rows[0][1]) < 0.5 else "0.020000", "0.020000"]


@plant("yolo-pose", 58, "keypoint-hidden-but-placed")
def hidden_with_a_place(s: Site) -> None:
    """A point marked as absent keeps the place of the template."""
    with s.rows() as rows:
        rows[0][7] = "0"


@plant("yolo-pose", 58, "coinciding-keypoints")
def two_points_on_one_spot(s: Site) -> None:
    """A double click set the left and the right point on one spot."""
    with s.rows() as rows:
        rows[0][11:13] = rows[0][8:10]


@plant("yolo-pose", 58, "malformed-label")
def point_lost(s: Site) -> None:
    """A row of two points where kpt_shape says three."""
    with s.rows() as rows:
        del rows[0][11:]


@plant("yolo-pose", 58, "keypoint-flip-not-involution", alone=True)
def flip_idx_typo(s: Site) -> str:
    """flip_idx sends two points to the same point."""
    s.replace("data.yaml", "[0, 2, 1]", "[0, 2, 2]")
    return ""


@plant("yolo-pose", 37, "box-out-of-bounds", also="keypoint-outside-box")
def pose_past_the_edge(s: Site) -> None:
    """The box of a pose reaches beyond the picture."""
    with s.rows() as rows:
        rows[0][3] = f"{2.2 * float(rows[0][1]):.6f}"
