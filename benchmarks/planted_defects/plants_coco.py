"""COCO JSON: boxes, polygons, run lengths, keypoints and panoptic segments."""

import json
import shutil
from typing import Any

import numpy as np
from benchmarks.planted_defects.clean import encode, hull
from benchmarks.planted_defects.plant import Registry, Site
from PIL import Image

COCO = Registry()
plant = COCO.add


@plant("coco", 34, "non-finite-coordinate")
def nan_literal(s: Site) -> None:
    """Python's json wrote a bare NaN."""
    with s.json() as d:
        s.mine(d)[0]["bbox"][0] = float("nan")


@plant("coco", 35, "degenerate-box")
def box_of_no_width(s: Site) -> None:
    """A box of width 0, as annotation 918 of COCO's train2017 all but is."""
    with s.json() as d:
        s.mine(d)[0]["bbox"][2] = 0
        s.mine(d)[0]["area"] = 0


@plant("coco", 35, "degenerate-box")
def negative_height(s: Site) -> None:
    """A box drawn from the bottom up."""
    with s.json() as d:
        box = s.mine(d)[0]["bbox"]
        box[1], box[3] = box[1] + box[3], -box[3]


@plant("coco", 36, "subpixel-box", also="area-mismatch extreme-box-aspect box-size-outlier")
def downscaled_to_nothing(s: Site) -> None:
    """A speck whose box shrank to 0.4 px when the pictures were downscaled."""
    with s.json() as d:
        s.mine(d)[0].update(bbox=[60.2, 50.1, 0.4, 0.4], area=0.16)


@plant("coco", 37, "box-out-of-bounds")
def wider_than_the_rest_of_the_picture(s: Site) -> None:
    """A box that ends 40 px beyond the right edge."""
    with s.json() as d:
        a = s.mine(d)[0]
        a["bbox"][2] = s.shot.width + 40 - a["bbox"][0]
        a["area"] = a["bbox"][2] * a["bbox"][3]


@plant("coco", 38, "box-outside-image")
def of_the_uncropped_picture(s: Site) -> None:
    """The picture was cropped and the box kept its old place, outside of it."""
    with s.json() as d:
        s.mine(d)[0]["bbox"][:2] = [s.shot.width + 60, 40]


@plant("coco", 40, "swapped-box-layout", alone=True, also="area-mismatch")
def corners_instead_of_sides(s: Site) -> str:
    """Both files were exported with x1 y1 x2 y2 in bbox."""
    for name in ("*train2017.json", "*val2017.json"):
        with s.json(name) as d:
            for a in d["annotations"]:
                x, y, w, h = a["bbox"]
                a["bbox"] = [x, y, round(x + w, 2), round(y + h, 2)]
                a["area"] = a["bbox"][2] * a["bbox"][3]
    return ""


@plant("coco", 44, "duplicate-box")
def exported_twice(s: Site) -> None:
    """An annotation again under a new id."""
    with s.json() as d:
        d["annotations"].append({**s.mine(d)[0], "id": 700_001})


@plant("coco", 45, "conflicting-box")
def second_opinion_kept(s: Site) -> None:
    """A correction was added beside the annotation that it corrects: another class, the same box."""
    with s.json() as d:
        a = s.mine(d)[0]
        d["annotations"].append({**a, "id": 700_002, "category_id": a["category_id"] % 3 + 1})


@plant("coco", 60, "malformed-label")
def three_numbers_in_bbox(s: Site) -> None:
    """A bbox of three numbers."""
    with s.json() as d:
        s.mine(d)[0]["bbox"].pop()


@plant("coco", 60, "malformed-label")
def bbox_as_text(s: Site) -> None:
    """A spreadsheet turned the list into text."""
    with s.json() as d:
        a = s.mine(d)[0]
        a["bbox"] = str(a["bbox"])


@plant("coco", 60, "corrupt-annotation-file", alone=True, also="missing-split-target")
def json_cut_off(s: Site) -> str:
    """The JSON was still being written when it was copied."""
    path = s.file("*train2017.json")
    path.write_text(path.read_text()[:30_000])
    return path.name


@plant("coco voc", 63, "missing-image")
def picture_not_copied(s: Site) -> None:
    """A listed picture that did not make it to this disk."""
    s.picture.unlink()


@plant("coco", 64, "unknown-class-id")
def category_removed_from_the_list(s: Site) -> None:
    """A category was deleted in the tool and an annotation of it stayed."""
    with s.json() as d:
        s.mine(d)[0]["category_id"] = 7


@plant("coco", 65, "unknown-class-id")
def background_as_category_zero(s: Site) -> None:
    """Ids counted from 0 among ids counted from 1."""
    with s.json() as d:
        s.mine(d)[0]["category_id"] = 0


@plant("coco", 65, "malformed-label")
def category_as_name(s: Site) -> None:
    """category_id holds the name."""
    with s.json() as d:
        a = s.mine(d)[0]
        a["category_id"] = d["categories"][a["category_id"] - 1]["name"]


@plant("coco", 66, "duplicate-id")
def image_id_of_another(s: Site) -> str:
    """Two files were merged without renumbering: two pictures have one id."""
    with s.json() as d:
        entry = s.entry(d)
        shutil.copyfile(s.picture, s.picture.with_name("merged.jpg"))
        d["images"].append({**entry, "file_name": "merged.jpg"})
    return "merged.jpg"


@plant("coco", 66, "duplicate-id")
def annotation_id_again(s: Site) -> str:
    """Two files were merged without renumbering: two annotations have one id."""
    with s.json() as d:
        first, second = s.mine(d)[:2]
        second["id"] = first["id"]
        return str(first["id"])


@plant("coco", 66, "duplicate-id", alone=True)
def category_id_again(s: Site) -> str:
    """Two categories of one id."""
    with s.json() as d:
        d["categories"].append({"id": 3, "name": "pebble", "supercategory": "thing"})
    return "pebble"


@plant("coco", 66, "annotation-id-zero")
def annotations_counted_from_zero(s: Site) -> None:
    """Annotation ids counted from 0: pycocotools takes a match with id 0 for none."""
    with s.json() as d:
        s.mine(d)[0]["id"] = 0


@plant("coco", 67, "unknown-image-id")
def annotation_of_a_removed_picture(s: Site) -> str:
    """A picture was removed from the list and its annotation was not."""
    with s.json() as d:
        s.mine(d)[0]["image_id"] = 77_777
    return "77777"


@plant("coco", 68, "gaps-in-class-ids", alone=True)
def ids_with_gaps(s: Site) -> str:
    """Categories 1, 3 and 90, as they were in a larger set."""
    for name in ("*train2017.json", "*val2017.json"):
        with s.json(name) as d:
            for record, key in [(c, "id") for c in d["categories"]] + [(a, "category_id") for a in d["annotations"]]:
                record[key] = {1: 1, 2: 3, 3: 90}[record[key]]
    return ""


@plant("coco", 69, "image-size-mismatch")
def size_before_downscaling(s: Site) -> None:
    """Width and height are those before the picture was downscaled."""
    with s.json() as d:
        s.entry(d).update(width=2 * s.shot.width, height=2 * s.shot.height)


@plant("coco", 69, "image-size-mismatch")
def width_and_height_exchanged(s: Site) -> None:
    """Rows and columns were taken for width and height."""
    with s.json() as d:
        s.entry(d).update(width=s.shot.height, height=s.shot.width)


@plant("coco", 70, "near-identical-class-names", alone=True)
def class_in_two_spellings(s: Site) -> str:
    """Two annotators typed the class differently: `shell` and `Shell `."""
    for name in ("*train2017.json", "*val2017.json"):
        with s.json(name) as d:
            d["categories"].append({"id": 4, "name": "Shell ", "supercategory": "thing"})
            for k, a in enumerate(x for x in d["annotations"] if x["category_id"] == 3):
                a["category_id"] = 4 if k % 2 else 3
    return "Shell"


@plant("coco", 72, "unused-class", alone=True)
def category_of_the_template(s: Site) -> str:
    """A category of the project's template that nothing belongs to."""
    for name in ("*train2017.json", "*val2017.json"):
        with s.json(name) as d:
            d["categories"].append({"id": 4, "name": "pebble", "supercategory": "thing"})
    return "pebble"


@plant("coco", 76, "duplicate-id", alone=True)
def categories_numbered_anew_for_val(s: Site) -> str:
    """The validation file numbered the categories by the alphabet, the training file by hand."""
    with s.json("*val2017.json") as d:
        turned = {1: 2, 2: 1, 3: 3}
        for c in d["categories"]:
            c["id"] = turned[c["id"]]
        for a in d["annotations"]:
            a["category_id"] = turned[a["category_id"]]
    return ""


@plant("coco", 31, "empty-split", alone=True)
def test_split_without_pictures(s: Site) -> str:
    """A test file was declared and never filled."""
    with s.json() as d:
        document = {**d, "images": [], "annotations": []}
    (s.root / "annotations" / "instances_test2017.json").write_text(json.dumps(document))
    return "test"


@plant("coco", 31, "small-validation-split", alone=True, also="rare-class class-missing-in-split")
def three_pictures_to_validate_on(s: Site) -> str:
    """Only three pictures are left to validate on."""
    with s.json("*val2017.json") as d:
        d["images"] = d["images"][:3]
        keep = {i["id"] for i in d["images"]}
        d["annotations"] = [a for a in d["annotations"] if a["image_id"] in keep]
        names = {i["file_name"] for i in d["images"]}
    for path in (s.root / "val2017").iterdir():
        if path.name not in names:
            path.unlink()
    return "val"


@plant("coco", 32, "class-missing-in-split", alone=True, also="label-drift")
def class_only_in_val(s: Site) -> str:
    """A class whose pictures all went to validation."""
    with s.json() as d:
        d["annotations"] = [a for a in d["annotations"] if a["category_id"] != 3]
    return "shell"


@plant("coco", 74, "class-imbalance", alone=True, also="rare-class label-drift")
def sixty_to_one(s: Site) -> str:
    """Nearly all shells and bricks were labelled leaf."""
    for name, keep in (("*train2017.json", 4), ("*val2017.json", 2)):
        with s.json(name) as d:
            seen: dict[int, int] = {}
            for a in d["annotations"]:
                seen[a["category_id"]] = seen.get(a["category_id"], 0) + 1
                if seen[a["category_id"]] > keep:
                    a["category_id"] = 1
    return ""


@plant("coco", 22, "unsafe-path")
def path_out_of_the_set(s: Site) -> None:
    """A file name that climbs out of the dataset."""
    with s.json() as d:
        s.entry(d)["file_name"] = f"../../../shared/{s.stem}.jpg"


@plant("coco-polygons", 50, "self-intersecting-polygon", also="degenerate-polygon area-mismatch")
def crossed_outline(s: Site) -> None:
    """Two vertices in the wrong order."""
    with s.json() as d:
        ring = s.mine(d)[0]["segmentation"][0]
        ring[2:4], ring[4:6] = ring[4:6], ring[2:4]


@plant("coco-polygons", 50, "degenerate-polygon", also="outline-box-mismatch area-mismatch sliver-outline")
def two_vertices(s: Site) -> None:
    """An outline that was begun and left: two vertices."""
    with s.json() as d:
        s.mine(d)[0]["segmentation"][0] = s.mine(d)[0]["segmentation"][0][:4]


@plant("coco-polygons", 50, "degenerate-polygon", also="area-mismatch sliver-outline outline-box-mismatch")
def flat_polygon(s: Site) -> None:
    """All vertices on one line."""
    with s.json() as d:
        a = s.mine(d)[0]
        x, y, w, _ = a["bbox"]
        a["segmentation"] = [[x, y, x + w / 2, y, x + w, y]]


@plant("coco-polygons", 51, "outline-box-mismatch")
def box_of_the_first_draft(s: Site) -> None:
    """The polygon was redrawn and the box stayed that of the draft."""
    with s.json() as d:
        x, y, w, h = s.mine(d)[0]["bbox"]
        s.mine(d)[0]["bbox"] = [x - w / 2, y - h / 2, w * 0.7, h * 0.7]


@plant("coco-polygons", 51, "outline-box-mismatch", also="box-out-of-bounds")
def rows_before_columns(s: Site) -> None:
    """A polygon from numpy's (row, column) order: x and y are exchanged."""
    with s.json() as d:
        ring = s.mine(d)[0]["segmentation"][0]
        ring[::2], ring[1::2] = ring[1::2], ring[::2]


@plant("coco-polygons", 52, "area-mismatch")
def area_of_the_large_picture(s: Site) -> None:
    """The coordinates were scaled with the picture and the area was not."""
    with s.json() as d:
        s.mine(d)[0]["area"] *= 16


@plant("coco-polygons", 53, "crowd-with-polygon")
def crowd_as_polygon(s: Site) -> None:
    """iscrowd was ticked on a polygon."""
    with s.json() as d:
        s.mine(d)[0]["iscrowd"] = 1


@plant("coco-polygons", 54, "sliver-outline", also="area-mismatch")
def thin_triangle(s: Site) -> None:
    """Three clicks along the object's diagonal."""
    with s.json() as d:
        a = s.mine(d)[0]
        x, y, w, h = a["bbox"]
        a["segmentation"] = [[x, y, x + w, y + h - 0.4, x + w, y + h]]
        a["area"] = round(w * 0.2, 2)


@plant("coco-polygons", 54, "boxes-drawn-as-masks", alone=True)
def rectangles_as_masks(s: Site) -> str:
    """A set of boxes was exported with a polygon each."""
    for name in ("*train2017.json", "*val2017.json"):
        with s.json(name) as d:
            for a in d["annotations"]:
                x, y, w, h = a["bbox"]
                a["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
                a["area"] = round(w * h, 2)
    return ""


@plant("coco-polygons", 34, "unreadable-outline")
def nan_in_a_polygon(s: Site) -> None:
    """A vertex is NaN."""
    with s.json() as d:
        s.mine(d)[0]["segmentation"][0][2] = float("nan")


@plant("coco-polygons", 60, "malformed-label")
def polygon_not_in_a_list(s: Site) -> None:
    """The list of polygons is the polygon itself."""
    with s.json() as d:
        a = s.mine(d)[0]
        a["segmentation"] = a["segmentation"][0]


def _smaller(mask: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(mask).resize((mask.shape[1] // 2, mask.shape[0] // 2))) > 0


@plant("coco-rle", 53, "mask-of-other-size", also="outline-box-mismatch area-mismatch")
def mask_of_the_small_picture(s: Site) -> None:
    """The mask is of the network's input and was never enlarged."""
    with s.json() as d:
        s.mine(d)[0]["segmentation"] = encode(_smaller(s.shot.mask(s.shot.things[0])))


@plant("coco-rle", 53, "mask-of-other-size", also="outline-box-mismatch area-mismatch")
def width_before_height(s: Site) -> None:
    """`size` says width and height instead of height and width."""
    with s.json() as d:
        s.mine(d)[0]["segmentation"]["size"].reverse()


@plant("coco-rle", 53, "unreadable-outline")
def run_lengths_cut_off(s: Site) -> None:
    """A database column was too short for the run lengths."""
    with s.json() as d:
        shape = s.mine(d)[0]["segmentation"]
        shape["counts"] = shape["counts"][: len(shape["counts"]) // 2]


@plant("coco-rle", 51, "outline-box-mismatch", also="duplicate-box conflicting-box")
def hull_of_another_mask(s: Site) -> None:
    """The box is that of another object's mask."""
    with s.json() as d:
        other = s.shot.mask(s.shot.things[1])
        s.mine(d)[0].update(bbox=hull(other))


@plant("coco-rle", 52, "area-mismatch")
def area_of_the_box(s: Site) -> None:
    """`area` is that of the box, and half of that again."""
    with s.json() as d:
        a = s.mine(d)[0]
        a["area"] = 1.5 * a["bbox"][2] * a["bbox"][3]


@plant("coco-rle", 50, "degenerate-polygon", also="unreadable-outline outline-box-mismatch area-mismatch")
def empty_mask_of_an_object(s: Site) -> None:
    """A model's mask without a single pixel."""
    with s.json() as d:
        s.mine(d)[0]["segmentation"] = encode(np.zeros((s.shot.height, s.shot.width), bool))


@plant("coco-keypoints", 58, "keypoint-outside-box")
def point_far_away(s: Site) -> None:
    """A keypoint on another object."""
    with s.json() as d:
        a = s.mine(d)[0]
        a["keypoints"][:2] = [s.shot.width - 4 if a["bbox"][0] < s.shot.width / 2 else 4, 4]


@plant("coco-keypoints", 58, "keypoint-hidden-but-placed")
def absent_at_a_place(s: Site) -> None:
    """Visibility 0 at a place that is not 0, 0."""
    with s.json() as d:
        a = s.mine(d)[0]
        a["keypoints"][5], a["num_keypoints"] = 0, 2


@plant("coco-keypoints", 58, "keypoint-count-mismatch", also="malformed-label")
def points_of_another_skeleton(s: Site) -> None:
    """Two keypoints where the category names three."""
    with s.json() as d:
        a = s.mine(d)[0]
        a["keypoints"], a["num_keypoints"] = a["keypoints"][:6], 2


@plant("coco-keypoints", 58, "keypoint-count-mismatch")
def count_not_kept_up(s: Site) -> None:
    """num_keypoints was not changed with the points."""
    with s.json() as d:
        s.mine(d)[0]["num_keypoints"] = 17


@plant("coco-keypoints", 58, "coinciding-keypoints")
def left_on_right(s: Site) -> None:
    """The left and the right point on one spot."""
    with s.json() as d:
        points = s.mine(d)[0]["keypoints"]
        points[6:8] = points[3:5]


def _segments(s: Site, d: dict[str, Any]) -> dict[str, Any]:
    return next(a for a in d["annotations"] if a["image_id"] == s.shot.number + 1)


@plant("panoptic", 55, "segment-without-pixels")
def segment_painted_over(s: Site) -> None:
    """A segment whose pixels were given to another."""
    with s.json("panoptic_train2017.json") as d:
        _segments(s, d)["segments_info"].append(
            {"id": 4_242, "category_id": 1, "bbox": [9, 9, 30, 30], "area": 700, "iscrowd": 0}
        )


@plant("panoptic", 55, "pixels-without-segment", also="empty-mask")
def segment_struck_from_the_list(s: Site) -> None:
    """A segment was removed from the JSON and stays in the PNG."""
    with s.json("panoptic_train2017.json") as d:
        _segments(s, d)["segments_info"].pop()


@plant("panoptic", 55, "mask-size-mismatch", also="area-mismatch outline-box-mismatch")
def png_of_the_small_picture(s: Site) -> None:
    """The PNG is half the picture's size."""
    path = s.file(f"panoptic_*/{s.stem}.png")
    with Image.open(path) as image:
        small = image.resize((image.width // 2, image.height // 2), Image.Resampling.NEAREST)
    small.save(path)


@plant("panoptic", 55, "missing-mask")
def png_lost(s: Site) -> None:
    """The PNG of a picture is gone."""
    s.file(f"panoptic_*/{s.stem}.png").unlink()


@plant("panoptic", 64, "unknown-class-id")
def segment_of_no_category(s: Site) -> None:
    """A segment of a category that is not in the list."""
    with s.json("panoptic_train2017.json") as d:
        _segments(s, d)["segments_info"][-1]["category_id"] = 99


@plant("panoptic", 52, "area-mismatch")
def area_before_downscaling(s: Site) -> None:
    """The area is that of the picture before it was downscaled."""
    with s.json("panoptic_train2017.json") as d:
        _segments(s, d)["segments_info"][0]["area"] *= 4


@plant("panoptic", 51, "outline-box-mismatch", also="box-out-of-bounds")
def corners_as_box(s: Site) -> None:
    """The box of a segment is x1 y1 x2 y2."""
    with s.json("panoptic_train2017.json") as d:
        box = _segments(s, d)["segments_info"][0]["bbox"]
        box[2:] = [box[0] + box[2], box[1] + box[3]]


@plant("panoptic", 62, "orphan-mask")
def png_of_no_annotation(s: Site) -> str:
    """A PNG that the JSON does not name."""
    path = s.file(f"panoptic_*/{s.stem}.png")
    shutil.copyfile(path, path.with_name("draft.png"))
    return "draft.png"


@plant("panoptic", 66, "duplicate-id")
def segment_listed_twice(s: Site) -> None:
    """A segment stands twice in the list."""
    with s.json("panoptic_train2017.json") as d:
        segments = _segments(s, d)["segments_info"]
        segments.append(dict(segments[-1]))
