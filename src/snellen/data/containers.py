"""What the bytes of an image file say of how it is built, without decoding it: whole or cut, damaged, how many frames.

Every walk is bounded, whatever the file holds.
"""

import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import IO, Literal

PNG = b"\x89PNG\r\n\x1a\n"
MAX_STEPS = 100_000
"""Chunks, segments and blocks that a walk through one file takes at most."""
MAX_HEADER = 10_000
"""Chunks, segments or blocks before the pixels at most: decoders walk them one by one, and would not end."""
MAX_FRAMES = 1000
"""Frames are counted up to here."""
MAX_SCANS = 200
"""A progressive JPEG of more scans is not decoded: each costs a pass over the whole picture; encoders write ten."""


def complete(data: bytes) -> bool | None:
    """Whether the end marker is there: JPEG EOI behind the start of the pixels, PNG IEND; None for other formats.

    What cameras append after it (previews, padding) does not count.
    """
    if data.startswith(b"\xff\xd8"):
        # A preview in the header has an end marker of its own; none can stand among the pixels, where FF is escaped.
        return data.rfind(b"\xff\xd9", jpeg_header(data)[1]) >= 0
    if data.startswith(PNG):
        return data.rfind(b"IEND\xaeB`\x82") >= 0
    return None


def pixel_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a PNG or JPEG declares; None where it cannot be read."""
    if data.startswith(b"\xff\xd8"):
        return jpeg_header(data)[0]
    if len(data) < 24 or not data.startswith(PNG) or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def jpeg_header(data: bytes) -> tuple[tuple[int, int] | None, int]:
    """Of a JPEG: width and height where a frame header says them, and the offset at which its pixels start.

    The offset is the end of the file where no scan starts.
    """
    at, size = 2, None
    for _ in range(MAX_STEPS):
        at = data.find(b"\xff", at)  # decoders pass over what stands between two segments
        if at < 0 or at + 4 > len(data):
            break
        marker = data[at + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:  # fill bytes, markers without a length
            at += 1
            continue
        if marker == 0xDA:
            return size, at
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and at + 9 <= len(data):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            size = (width, height)
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return size, len(data)


def too_many_scans(data: bytes) -> bool:
    """Whether a progressive JPEG has more than MAX_SCANS scans."""
    at = jpeg_header(data)[1]
    for _ in range(MAX_SCANS + 1):
        at = data.find(b"\xff\xda", at) + 2
        if at == 1:
            return False
    return True


def png_chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Type, offset of the content and length of each chunk of a PNG, up to the last whole header."""
    at = len(PNG)
    for _ in range(MAX_STEPS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[:4], "big")
        yield head[4:], at + 8, length
        if head[4:] == b"IEND":
            return
        at += 12 + length


def late_exif(file: IO[bytes]) -> bytes | None:
    """EXIF data that a PNG keeps behind its pixels, as Pillow holds it; the position in `file` stays."""
    before = file.tell()
    try:
        for kind, at, length in png_chunks(file):
            if kind == b"eXIf" and length <= 1 << 20:
                file.seek(at)
                return b"Exif\0\0" + file.read(length)
        return None
    finally:
        file.seek(before)


def png_damage(file: IO[bytes], data: bytes) -> str | None:
    """The first chunk needed for the pixels whose checksum is wrong, in words; None when there is none.

    Of a PNG cut short this says nothing: see `complete`.
    """
    view = memoryview(data)
    for kind, at, length in png_chunks(file):
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"tRNS") and at + length + 4 <= len(data):
            said = int.from_bytes(view[at + length : at + length + 4], "big")
            if zlib.crc32(view[at - 4 : at + length]) != said:
                return f"damaged: the checksum of the {kind.decode()} chunk at byte {at - 8:,} is wrong"
    return None


def crowded(file: IO[bytes]) -> bool:
    """Whether the header of a PNG, JPEG, GIF or TIFF has more than MAX_HEADER parts; the position in `file` stays."""
    before = file.tell()
    try:
        file.seek(0)
        head = file.read(24)
        if head.startswith(PNG):
            kinds = (kind for kind, _, _ in png_chunks(file))
            return all(kind not in (b"IDAT", b"IEND") for kind in islice(kinds, MAX_HEADER)) and any(kinds)
        if head.startswith(b"\xff\xd8"):
            return _many_segments(file)
        if head.startswith(b"GIF8"):
            return _many_blocks(file, 13 + _colours(head[10]))
        if head[2:4] in (b"+\0", b"\0+"):  # BigTIFF counts its entries with 64 bits
            order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
            file.seek(int.from_bytes(head[8:16], order) % (1 << 62))
            return int.from_bytes(file.read(8), order) > MAX_HEADER
        return False
    finally:
        file.seek(before)


def _many_segments(file: IO[bytes]) -> bool:
    at = 2
    for _ in range(MAX_HEADER):
        file.seek(at)
        head = file.read(4)
        if len(head) < 4 or head[:2] == b"\xff\xda":
            return False
        alone = head[0] != 0xFF or head[1] in (0x00, 0x01, 0xFF) or 0xD0 <= head[1] <= 0xD8
        at += 1 if alone else 2 + max(2, int.from_bytes(head[2:], "big"))
    return True


def _many_blocks(file: IO[bytes], at: int) -> bool:
    """Whether more than MAX_HEADER blocks of extensions stand before the first picture of a GIF."""
    steps = 0
    while steps < MAX_HEADER:
        file.seek(at)
        if file.read(1) != b"!":
            return False
        at += 2
        while steps < MAX_HEADER:
            file.seek(at)
            length = file.read(1)
            at += 1 + (length[0] if length else 0)
            steps += 1
            if not length or not length[0]:
                break
    return True


def gif_frames(data: bytes) -> int:
    """Pictures in a GIF, at least 1, at most MAX_FRAMES; blocks past MAX_STEPS are not looked at."""
    try:
        at = 13 + _colours(data[10])
        count = steps = 0
        while count < MAX_FRAMES and steps < MAX_STEPS:
            kind = data[at]
            if kind == 0x2C:
                count += 1
                at += 11 + _colours(data[at + 9])
            elif kind == 0x21:
                at += 2
            else:
                break
            while data[at] and steps < MAX_STEPS:
                at += 1 + data[at]
                steps += 1
            at += 1
            steps += 1
    except IndexError:  # cut short
        pass
    return max(1, count)


def _colours(flags: int) -> int:
    """Bytes of the colour table that the flags of a GIF announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def tiff_pages(data: bytes) -> int:
    """Pages in the chain of a TIFF or BigTIFF, at least 1, at most MAX_FRAMES."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    count, first, entry, link = ("Q", 8, 20, "Q") if big else ("H", 4, 12, "I")
    try:
        (at,) = struct.unpack_from(order + link, data, first)
        pages = 0
        while at and pages < MAX_FRAMES:
            (entries,) = struct.unpack_from(order + count, data, at)
            pages += 1
            (at,) = struct.unpack_from(order + link, data, at + struct.calcsize(order + count) + entry * entries)
    except (struct.error, OverflowError):  # the chain leads out of the file
        pass
    return max(1, pages)
