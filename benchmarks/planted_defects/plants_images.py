"""Picture files: damaged, misnamed, odd, doubled; mostly in class folders, some where labels matter."""

import io
import shutil
from pathlib import Path

import cv2
import numpy as np
from benchmarks.planted_defects.clean import CLASSES
from benchmarks.planted_defects.plant import LEDGER, Registry, Site
from benchmarks.planted_defects.scenes import noise
from PIL import Image, ImageCms

IMAGES = Registry()
plant = IMAGES.add


@plant("folders", 1, "unreadable-image")
def error_page_saved_as_picture(s: Site) -> None:
    """A downloader saved the server's error page under the picture's name."""
    s.picture.write_text("<html><head><title>404 Not Found</title></head><body>nginx</body></html>\n")


@plant("folders yolo coco", 1, "unreadable-image")
def empty_file(s: Site) -> None:
    """A copy that ran out of disk space left a file of 0 bytes."""
    s.picture.write_bytes(b"")


@plant("folders yolo voc", 2, "truncated-image")
def upload_cut_short(s: Site) -> None:
    """A JPEG whose last third never arrived."""
    data = s.picture.read_bytes()
    s.picture.write_bytes(data[: len(data) * 2 // 3])


@plant("csv", 2, "truncated-image")
def end_marker_lost(s: Site) -> None:
    """A camera that lost power: all but the last bytes of the JPEG."""
    s.picture.write_bytes(s.picture.read_bytes()[:-12])


@plant("folders coco", 3, "extension-mismatch")
def png_called_jpg(s: Site) -> None:
    """A PNG saved under the name of a JPEG."""
    s.save(s.opened(), format="PNG")


@plant("folders", 3, "extension-mismatch")
def webp_called_jpg(s: Site) -> None:
    """A crawler kept the .jpg of the address, the server sent WebP."""
    s.save(s.opened(), format="WEBP", quality=80)


@plant("folders", 4, "undersized-image", also="odd-image-size")
def icon_among_pictures(s: Site) -> None:
    """A crawler took the preview icon for the picture: 9 x 7 px."""
    s.save(s.opened().resize((9, 7)))


@plant("folders", 5, "odd-image-size")
def scan_at_full_resolution(s: Site) -> None:
    """One picture was not downscaled with the others: 2,560 x 1,920 px."""
    rng = np.random.default_rng(1)
    large = np.asarray(s.opened().resize((2560, 1920), Image.Resampling.BICUBIC), np.float64)
    s.save(large + 20 * noise(rng, 1920, 2560)[..., None])


@plant("folders", 6, "extreme-aspect-image")
def panorama(s: Site) -> None:
    """A stitched panorama of 1,200 x 110 px."""
    rng = np.random.default_rng(2)
    s.save(120 + 40 * noise(rng, 110, 1200)[..., None] + 12 * np.stack([noise(rng, 110, 1200)] * 3, -1))


def _turned(s: Site) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    s.save(s.opened().transpose(Image.Transpose.ROTATE_90), exif=exif)


@plant("yolo voc coco", 7, "exif-rotated-image", also="image-size-mismatch")
def phone_held_upright(s: Site) -> None:
    """The camera stored the picture turned and an EXIF tag that says so; the labels are of the picture as shown."""
    _turned(s)


@plant("folders coco", 8, "mixed-channel-mode")
def print_export_in_cmyk(s: Site) -> None:
    """A picture that went through a print workflow: CMYK."""
    s.save(s.opened().convert("CMYK"))


@plant("folders", 8, "mixed-channel-mode", also="grey-among-colour")
def saved_as_grey(s: Site) -> None:
    """A scan saved with one channel among colour pictures."""
    s.save(s.opened().convert("L"))


@plant("folders coco", 9, "grey-among-colour")
def night_camera(s: Site) -> None:
    """A camera in infrared mode: three channels, all equal."""
    s.save(s.opened().convert("L").convert("RGB"))


def _renamed(s: Site, image: Image.Image, suffix: str, **options: object) -> str:
    """The plant's picture in another format, under the suffix that belongs to it."""
    path = s.picture
    path.unlink()
    image.save(path.with_suffix(suffix), **options)
    return path.stem


@plant("folders", 10, "alpha-channel-content", also="mixed-channel-mode")
def cut_out_on_transparent_ground(s: Site) -> str:
    """A PNG cut-out whose background is transparent."""
    image = s.opened().convert("RGBA")
    alpha = np.zeros((image.height, image.width), np.uint8)
    cv2.circle(alpha, (image.width // 2, image.height // 2), 70, 255, -1)
    image.putalpha(Image.fromarray(alpha))
    return _renamed(s, image, ".png")


@plant("folders", 10, "mixed-channel-mode")
def palette_png(s: Site) -> str:
    """A PNG squeezed to a palette of 256 colours."""
    return _renamed(s, s.opened().quantize(256), ".png")


@plant("folders", 11, "deep-grey-image", also="mixed-channel-mode grey-among-colour")
def sixteen_bit_scan(s: Site) -> str:
    """A 16-bit grey PNG from a microscope."""
    grey = np.asarray(s.opened().convert("L")).astype(np.uint16) * 257
    return _renamed(s, Image.fromarray(grey), ".png")


@plant("folders", 12, "embedded-colour-profile")
def lab_profile(s: Site) -> None:
    """A picture with a colour profile that is not sRGB."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    s.save(s.opened(), icc_profile=profile)


@plant("folders", 13, "multi-frame-image", also="mixed-channel-mode")
def animated_gif(s: Site) -> str:
    """An animation of three frames."""
    frames = [s.opened().rotate(angle).quantize(256) for angle in (0, 5, 10)]
    return _renamed(s, frames[0], ".gif", save_all=True, append_images=frames[1:], duration=80)


@plant("folders", 13, "multi-frame-image")
def tiff_stack(s: Site) -> str:
    """A scanner's TIFF of two pages."""
    pages = [s.opened(), s.opened().rotate(180)]
    return _renamed(s, pages[0], ".tiff", save_all=True, append_images=pages[1:])


@plant("folders coco", 14, "dark-image")
def night_without_flash(s: Site) -> None:
    """A picture taken at night without a flash."""
    s.save(s.pixels() * 0.09)


@plant("folders coco", 15, "overexposed-image")
def into_the_sun(s: Site) -> None:
    """A picture taken into the sun: nearly all of it is burnt out."""
    s.save(s.pixels() * 0.25 + 236)


@plant("folders yolo", 16, "blank-image")
def lens_cap(s: Site) -> None:
    """A frame without signal: one grey."""
    s.save(np.full_like(s.pixels(), 18))


@plant("folders", 16, "low-information-image")
def placeholder_graphic(s: Site) -> None:
    """The "image not available" graphic of a shop: two flat tones and a line of text."""
    drawn = np.full(s.pixels().shape, 224, np.uint8)
    cv2.putText(drawn, "no image", (40, 100), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (150, 150, 150), 2, cv2.LINE_4)
    s.save(drawn, format="JPEG", quality=100)


@plant("folders coco", 17, "blurry-image")
def out_of_focus(s: Site) -> None:
    """A picture out of focus: a Gaussian of 6 px."""
    s.save(cv2.GaussianBlur(s.pixels(), (0, 0), 6))


@plant("folders", 17, "blurry-image")
def shaken(s: Site) -> None:
    """A shaken camera: smeared along 21 px, and what of the grain was left went in the scaling."""
    s.save(cv2.GaussianBlur(cv2.filter2D(s.pixels(), -1, np.eye(21) / 21), (0, 0), 1.5))


@plant("folders", 18, "low-contrast-image")
def fog(s: Site) -> None:
    """A picture in dense fog."""
    s.save(s.pixels() * 0.12 + 130)


@plant("folders", 19, "baked-in-border")
def letterbox_saved(s: Site) -> None:
    """A video frame with its black bars."""
    values = s.pixels()
    values[:28] = values[-28:] = 0
    s.save(values)


@plant("folders", 20, "outlying-image")
def blue_channel_only(s: Site) -> None:
    """A camera whose white balance failed: nearly all blue."""
    s.save(s.pixels() * (0.25, 0.3, 1.7))


@plant("folders", 21, "case-clash")
def two_names_one_letter_case(s: Site) -> None:
    """Two pictures whose names are one on Windows and macOS."""
    other = s.picture.with_name(s.picture.name.upper().replace(".JPG", ".jpg"))
    rng = np.random.default_rng(6)
    values = 120 + 40 * noise(rng, 192, 256)[..., None] + 12 * noise(rng, 192, 256)[..., None] * (1, 0, -1)
    Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(other, quality=90)


@plant("yolo", 21, "shared-label-file")
def same_stem_two_suffixes(s: Site) -> None:
    """A PNG beside a JPEG of its name: both read the one label file."""
    rng = np.random.default_rng(3)
    values = 120 + 40 * noise(rng, 192, 256)[..., None] + 12 * noise(rng, 192, 256)[..., None] * (1, 0, -1)
    Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(s.picture.with_suffix(".png"))


@plant("folders", 22, "unportable-path")
def colon_in_the_name(s: Site) -> str:
    """A time stamp in the name, with colons, which Windows cannot hold."""
    s.picture.rename(s.picture.with_name(f"{s.stem} 12:30:07.jpg"))
    return f"{s.stem} 12:30:07"


@plant("coco", 22, "unsafe-path")
def absolute_windows_path(s: Site) -> None:
    """An annotation tool on Windows wrote its own absolute path."""
    with s.json() as d:
        s.entry(d)["file_name"] = rf"C:\Users\ann\data\{s.stem}.jpg"


@plant("folders", 24, "duplicate-image")
def downloaded_twice(s: Site) -> None:
    """The same file again, as a browser names it."""
    shutil.copyfile(s.picture, s.picture.with_name(f"{s.stem} (1).jpg"))


@plant("coco", 24, "duplicate-image")
def listed_twice_under_two_names(s: Site) -> None:
    """A merge of two exports holds a picture twice, each with its boxes."""
    with s.json() as d:
        shutil.copyfile(s.picture, s.picture.with_name(f"{s.stem}_b.jpg"))
        d["images"].append({**s.entry(d), "id": 90_001, "file_name": f"{s.stem}_b.jpg"})
        d["annotations"] += [{**a, "id": 900_000 + k, "image_id": 90_001} for k, a in enumerate(s.mine(d))]


@plant("folders", 24, "duplicate-image")
def same_pixels_in_other_file(s: Site) -> None:
    """A lossless copy in another container: bytes differ, pixels do not."""
    s.opened().save(s.picture.with_name(f"{s.stem}_copy.png"))


def _near(s: Site, image: Image.Image, quality: int = 88) -> None:
    image.save(s.picture.with_name(f"{s.stem}_near.jpg"), quality=quality)


@plant("folders", 25, "near-duplicate-image")
def compressed_again(s: Site) -> None:
    """A copy that a messenger compressed to quality 40."""
    _near(s, s.opened(), 40)


@plant("folders", 25, "near-duplicate-image")
def copy_at_half_size(s: Site) -> None:
    """A preview at half the size."""
    image = s.opened()
    _near(s, image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS))


@plant("folders", 25, "near-duplicate-image")
def slightly_cropped_copy(s: Site) -> None:
    """A copy from which 4 % of each side was cut."""
    image = s.opened()
    w, h = image.size
    _near(s, image.crop((round(w * 0.04), round(h * 0.04), round(w * 0.96), round(h * 0.96))))


@plant("folders", 25, "near-duplicate-image")
def mirrored_copy(s: Site) -> None:
    """A mirrored copy in the same split."""
    _near(s, s.opened().transpose(Image.Transpose.FLIP_LEFT_RIGHT))


@plant("folders", 26, "near-duplicate-image-with-different-labels", also="near-duplicate-image")
def preview_in_another_class(s: Site) -> None:
    """The picture is in one class, a preview of it at half the size in another."""
    image = s.opened()
    other = s.root / "train" / CLASSES[(s.shot.number + 1) % 3] / f"{s.stem}_small.jpg"
    image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS).save(other, quality=85)


@plant("folders", 26, "duplicate-image-with-different-labels", also="duplicate-image")
def sorted_into_two_classes(s: Site) -> None:
    """Two people sorted the same picture into two classes."""
    other = CLASSES[(s.shot.number + 1) % 3]
    shutil.copyfile(s.picture, s.root / "train" / other / f"{s.stem}_again.jpg")


@plant("yolo", 26, "duplicate-image-with-different-labels", also="duplicate-image")
def labelled_twice_differently(s: Site) -> None:
    """One picture went to two annotators under two names; one of them labelled it as background."""
    shutil.copyfile(s.picture, s.picture.with_name(f"{s.stem}_b.jpg"))
    s.file(f"{s.stem}.txt").with_name(f"{s.stem}_b.txt").write_text("")


def _into_val(s: Site, image: Image.Image | None, name: str) -> None:
    """A version of the plant's picture (None: its bytes) in the validation split of its class."""
    target = s.root / "val" / s.picture.parent.name / name
    if image is None:
        shutil.copyfile(s.picture, target)
    else:
        image.save(target, quality=88)


@plant("folders", 27, "split-leak-exact")
def copied_into_val(s: Site) -> None:
    """A training picture was copied into validation under its own name."""
    _into_val(s, None, f"{s.stem}.jpg")


@plant("yolo", 27, "split-leak-exact")
def copied_into_val_with_labels(s: Site) -> None:
    """A training picture and its label file were copied into validation."""
    for path in (s.picture, s.file(f"{s.stem}.txt")):
        shutil.copyfile(path, Path(str(path).replace("/train/", "/val/")))


@plant("coco", 27, "split-leak-exact")
def listed_in_both_splits(s: Site) -> None:
    """Two exports were split with two seeds: one picture and its boxes are in both."""
    shutil.copyfile(s.picture, s.root / "val2017" / s.picture.name)
    with s.json() as train, s.json("*val2017.json") as val:
        val["images"].append(s.entry(train))
        val["annotations"] += [{**a, "id": 800_000 + k} for k, a in enumerate(s.mine(train))]


@plant("folders", 28, "split-leak-near")
def resized_into_val(s: Site) -> None:
    """A training picture is in validation at 3/4 of its size."""
    image = s.opened()
    _into_val(s, image.resize((image.width * 3 // 4, image.height * 3 // 4)), f"{s.stem}_m.jpg")


@plant("folders", 29, "split-leak-by-group", alone=True)
def frames_of_one_clip_in_both(s: Site) -> str:
    """Frames of eight clips were dealt out at random: clip03_frame0117 trains, clip03_frame0118 validates."""
    files = sorted((s.root / "train").rglob("*.jpg")) + sorted((s.root / "val").rglob("*.jpg"))
    for number, path in enumerate(files):
        clip, frame = number % 8, number // 8
        path.rename(path.with_name(f"clip{clip:02}_frame{frame:04}.jpg"))
    return "clip"


@plant("folders", 30, "split-leak-by-augmentation")
def mirrored_into_val(s: Site) -> None:
    """The set was augmented before it was split: the mirrored copy is in validation."""
    _into_val(s, s.opened().transpose(Image.Transpose.FLIP_LEFT_RIGHT), f"{s.stem}_aug1.jpg")


@plant(
    "folders",
    30,
    "split-leak-by-augmentation",
    alone=True,
    also="near-duplicate-image split-leak-by-group split-leak-near",
)
def generated_versions_in_both(s: Site) -> str:
    """A hosted tool exported several versions of each picture, `<name>.rf.<hash>.jpg`, over both splits."""
    rng = np.random.default_rng(5)
    for number, path in enumerate(sorted((s.root / "train").rglob("*.jpg"))[::7]):
        with Image.open(path) as image:
            image.load()
        for split in ("train", "val"):
            shade = np.asarray(image, np.float64)[::-1] * rng.uniform(0.7, 1.2)
            target = s.root / split / path.parent.name / f"{path.stem}_jpg.rf.{number:032x}{split[0]}.jpg"
            Image.fromarray(np.clip(shade, 0, 255).astype(np.uint8)).save(target, quality=90)
    return ".rf."


@plant("folders coco", 93, "heavy-compression")
def crushed_jpeg(s: Site) -> None:
    """A picture forwarded by a messenger: JPEG quality 8."""
    s.save(s.opened(), quality=8)


@plant("folders", 23, LEDGER)
def thumbs_and_apple_doubles(s: Site) -> str:
    """Files that a desktop left behind: ._name.jpg and Thumbs.db."""
    s.picture.with_name(f"._{s.stem}.jpg").write_bytes(b"\x00\x05\x16\x07" + bytes(60))
    buffer = io.BytesIO()
    s.opened().resize((32, 24)).save(buffer, format="JPEG")
    s.picture.with_name("Thumbs.db").write_bytes(buffer.getvalue())
    return f"._{s.stem}"
