"""Frames of videos."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from snellen.data.video import VideoError, frames, is_stream, length


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds at 10 frames a second: three scenes of two seconds, with a little noise."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (160, 120))
    rng = np.random.default_rng(0)
    for i in range(60):
        picture = np.full((120, 160, 3), (40, 120, 200)[i // 20], np.int64) + rng.integers(-3, 4, (120, 160, 3))
        picture[:, :, 2] = 20  # hardly any red: the order of the channels shows
        writer.write(picture.astype(np.uint8))
    writer.release()
    return path


def test_frames_come_by_time(clip: Path) -> None:
    found = list(frames(clip, every=1.0))
    assert [f.seconds for f in found] == pytest.approx([0, 1, 2, 3, 4, 5], abs=0.01)
    assert [round(float(f.pixels[..., 1].mean()), -1) for f in found] == [40, 40, 120, 120, 200, 200]
    assert all(f.pixels.shape == (120, 160, 3) for f in found)
    assert all(f.pixels[..., 0].mean() < 40 for f in found)
    assert len(list(frames(clip, every=0))) == 60
    assert [f.seconds for f in frames(clip, every=0.25, seconds=1.0)] == pytest.approx(
        [0, 0.2, 0.5, 0.7, 1.0], abs=0.01
    )
    assert length(clip) == pytest.approx(6.0)


def test_key_frames_are_those_that_changed(clip: Path) -> None:
    assert [f.seconds for f in frames(clip, every=0, key_frames=True)] == pytest.approx([0, 2, 4], abs=0.01)


def test_what_is_no_video_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "no.mp4").write_bytes(b"not a video at all")
    assert is_stream("a/b.MP4")
    assert is_stream("camera:0")
    assert not is_stream("a/b.jpg")
    with pytest.raises(VideoError, match=r"no\.mp4: not a video"):
        list(frames(tmp_path / "no.mp4"))
    with pytest.raises(VideoError, match="no such video"):
        list(frames(tmp_path / "gone.mp4"))
    with pytest.raises(VideoError, match="no such camera"):
        list(frames("camera:97"))
