"""Frames of a video file or a camera, sampled by time or by how much the picture has changed.

OpenCV's FFmpeg backend decodes; a stream is read once, frame by frame, and no more than one frame is held.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from snellen.errors import UseError

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv"})
CHANGE = 12.0
"""Mean absolute difference of grey thumbnails, 0..255, from which a frame is a key frame: a cut, or a scene that has
moved on by a fifth of its contrast; the noise of a still camera stays below 3."""
THUMBNAIL = (32, 32)
LARGEST = 2**26
"""Pixels of a frame that is still decoded."""


class VideoError(UseError):
    """A video or camera that cannot be read."""


@dataclass(frozen=True)
class Frame:
    """One frame of a stream."""

    seconds: float
    """Since the first frame."""
    pixels: NDArray[np.uint8]
    """(H, W, 3), red, green, blue."""


def is_stream(source: str | Path) -> bool:
    """Whether `source` names a video, by its suffix, or a camera: `camera:0`."""
    return _camera(source) is not None or Path(source).suffix.lower() in VIDEO_SUFFIXES


def length(source: str | Path) -> float | None:
    """Seconds of a video, as its header says; None of a camera, or where the header says nothing."""
    if _camera(source) is not None:
        return None
    capture = _opened(source)
    frames, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return frames / rate if frames > 0 and rate > 0 else None


def frames(
    source: str | Path, *, every: float = 1.0, key_frames: bool = False, seconds: float | None = None
) -> Iterator[Frame]:
    """Frames of `source`, the first one included.

    Args:
        source: A video file, or `camera:N`.
        every: Seconds between frames; 0: every frame. With `key_frames`, the least distance of two.
        key_frames: Only frames that differ from the last one given out by at least `CHANGE`.
        seconds: Stop after this much of the stream; None: at its end.

    Raises:
        VideoError: it cannot be opened, holds no frame, or its frames are too large.
    """
    capture = _opened(source)
    camera = _camera(source) is not None
    rate = capture.get(cv2.CAP_PROP_FPS) or 30.0
    due = 0.0
    shown: NDArray[np.float32] | None = None
    count, began = 0, 0.0
    try:
        while capture.grab():
            # Containers without time stamps, and cameras, count frames.
            stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            now = stamp if stamp > 0 or not count else count / rate
            began = now if not count else began
            now -= began
            count += 1
            if seconds is not None and now > seconds:
                break
            # The frame nearest to when one is due: half a frame early counts.
            if now < due - 0.5 / rate:
                continue
            whole, picture = capture.retrieve()
            if not whole:
                continue
            if picture.shape[0] * picture.shape[1] > LARGEST:
                raise VideoError(
                    f"{source}: frames of {picture.shape[1]} x {picture.shape[0]} px, limit {LARGEST:,} px"
                )
            if key_frames:
                small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), THUMBNAIL, interpolation=cv2.INTER_AREA)
                grey = small.astype(np.float32)
                if shown is not None and float(np.abs(grey - shown).mean()) < CHANGE:
                    continue
                shown = grey
            while every > 0 and due - 0.5 / rate <= now:
                due += every
            yield Frame(now, np.ascontiguousarray(picture[:, :, ::-1]))
    finally:
        capture.release()
    if not count:
        raise VideoError(f"{source}: {'the camera gives' if camera else 'holds'} no frame that can be decoded")


def _camera(source: str | Path) -> int | None:
    kind, _, number = str(source).partition(":")
    return int(number) if kind == "camera" and number.isdecimal() else None


def _opened(source: str | Path) -> cv2.VideoCapture:
    camera = _camera(source)
    if camera is None and not Path(source).is_file():
        raise VideoError(f"{source}: no such video")
    capture = cv2.VideoCapture(camera) if camera is not None else cv2.VideoCapture(str(source), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        capture.release()
        raise VideoError(f"{source}: {'no such camera' if camera is not None else 'not a video that can be decoded'}")
    return capture
