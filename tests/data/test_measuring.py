"""Whatever measures, and whatever ends it: the same facts, nothing measured twice, no exception for a file's sake."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from snellen.data import cache as cache_module
from snellen.data.engines import local, open_engine, task
from snellen.data.engines.local import Child, ChildLostError
from snellen.data.engines.task import Job
from snellen.data.examine import examine
from snellen.errors import UseError
from snellen.findings.severity import Tier

ODD = ["two.jpg", "two.png", "naïve ü.png", "line\nbreak.png", "#hash%20?.png", " lead.png", "'quote\".png", "-rf.png"]


def picture(path: Path, seed: int = 0, side: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)).save(path)
    return path


def dataset(root: Path, images: int = 30, side: int = 40) -> Path:
    """Class folders with good pictures, odd names and files that cannot be read."""
    for label in range(3):
        (root / f"class {label}").mkdir(parents=True)
    for number in range(images):
        picture(root / f"class {number % 3}" / f"{number}.png", number, side)
    for number, name in enumerate(ODD):
        picture(root / "class 0" / name, 100 + number)
    (root / "class 1" / "loop.png").symlink_to("loop.png")
    (root / "class 1" / "gone.png").symlink_to("nowhere.png")
    (root / "class 1" / "text.png").write_text("no picture")
    (root / "class 1" / "empty.jpg").touch()
    cut = picture(root / "class 2" / "cut.png", 7, 100)
    cut.write_bytes(cut.read_bytes()[:2000])
    return root


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are opened, in threads of this process."""
    names: list[str] = []
    measure = task.measure
    monkeypatch.setattr(task, "measure", lambda path, tier: names.append(path.name) or measure(path, tier))
    return names


def test_threads_and_processes_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = dataset(tmp_path / "set")
    threads = examine(root, cache=False, workers=3)
    monkeypatch.setattr(local, "CHILDREN_FROM", 1)
    processes = examine(root, cache=False, workers=2)
    assert threads.images.equals(processes.images)
    assert threads.images.equals(examine(root, cache=False, workers=1).images)
    bad = threads.images.filter(~pl.col("decoded"))
    assert sorted(bad["image"]) == [
        f"class {n}" for n in ("1/empty.jpg", "1/gone.png", "1/loop.png", "1/text.png", "2/cut.png")
    ]
    assert bad.filter("exists")["error"].null_count() == 0
    assert threads.images.filter("decoded").height == 30 + len(ODD)
    assert threads.ledger.filter(record="image").height == 5


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_of_two_nodes_says_the_same(tmp_path: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    root = dataset(tmp_path / "set", images=300)
    here = examine(root, cache=False)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        there = examine(root, cache=False, engine="ray")
        assert there.images.equals(here.images)
        assert ray.is_initialized()  # a connection that was there before is left alone
        used = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        assert len(used) == 2
        with pytest.raises(UseError, match="does not see this folder"), open_engine("ray", None, 1) as engine:
            list(engine.run(Job(str(tmp_path / "nowhere"), int(Tier.HEADERS)), [["a.png"]]))
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_one_line_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(UseError, match=r"^the engine ray needs Ray: pip install 'snellen\[ray\]'$"):
        examine(dataset(tmp_path, images=1), cache=False, engine="ray")


@pytest.mark.parametrize(
    ("engine", "workers", "says"), [("spark", None, "engine 'spark'"), ("local", 0, "workers = 0")]
)
def test_an_engine_that_is_not_there_is_one_line(tmp_path: Path, engine: str, workers: int | None, says: str) -> None:
    with pytest.raises(UseError, match=says):
        examine(dataset(tmp_path, images=1), cache=False, engine=engine, workers=workers)


def test_the_second_run_opens_nothing_below_the_root(tmp_path: Path) -> None:
    root, cache = dataset(tmp_path / "set"), tmp_path / "cache"
    first = examine(root, cache_dir=cache)
    for name in ("gone.png", "loop.png", "empty.jpg"):  # what was not read is looked at again
        (root / "class 1" / name).unlink()
    code = (
        "import sys\nfrom pathlib import Path\nfrom snellen.data.examine import examine\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, args: seen.append(str(args[0])) if event == 'open' else None)\n"
        f"data = examine(Path({str(root)!r}), cache_dir=Path({str(cache)!r}))\n"
        f"assert not [name for name in seen if name.startswith({str(root)!r})], seen\n"
        "print(data.images.drop_nulls('hash').height)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == first.images.drop_nulls("hash").filter(pl.col("bytes") > 0).height


def test_only_what_changed_is_opened(tmp_path: Path, opened: list[str]) -> None:
    root, cache = dataset(tmp_path / "set"), tmp_path / "cache"
    examine(root, cache_dir=cache)
    opened.clear()
    os.utime(root / "class 0" / "0.png", ns=(1, 1))
    picture(root / "class 0" / "new.png", 5)
    (root / "class 0" / "3.png").unlink()
    again = examine(root, cache_dir=cache)
    assert sorted(set(opened) - {"loop.png"}) == ["0.png", "new.png"]
    assert again.images.equals(examine(root, cache=False).images)


def test_headers_are_known_after_a_full_run(tmp_path: Path, opened: list[str]) -> None:
    root, cache = dataset(tmp_path / "set"), tmp_path / "cache"
    examine(root, cache_dir=cache)
    opened.clear()
    fast = examine(root, cache_dir=cache, tier=Tier.HEADERS)
    assert set(opened) == {"loop.png", "text.png", "empty.jpg", "cut.png"}
    assert fast.images.equals(examine(root, cache=False, tier=Tier.HEADERS).images)


def test_two_listings_of_one_folder_share_what_is_kept(tmp_path: Path, opened: list[str]) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "images" / f"{name}.png")
        (tmp_path / f"{name}.json").write_text(
            f'{{"images": [{{"id": 1, "file_name": "images/{name}.png", "width": 40, "height": 40}}],'
            '"annotations": [], "categories": []}'
        )
    for name in "abab":
        examine(tmp_path / f"{name}.json", cache_dir=tmp_path / "cache")
    assert opened == ["a.png", "b.png"]


def run_slowly(root: Path, cache: Path) -> subprocess.Popen[str]:
    """A process that examines `root`, a chunk every 50 ms, and writes its journal as often."""
    code = (
        # A shell gives what it starts in the background no SIGINT.
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import time\nfrom pathlib import Path\n"
        "from snellen.data import cache\nfrom snellen.data.examine import examine\n"
        "cache.FLUSH_SECONDS = 0.05\n"
        "def slow(stage, done, total, note=''):\n    time.sleep(0.05 if done and done < total else 0)\n"
        f"examine({str(root)!r}, cache_dir=Path({str(cache)!r}), workers=1, progress=slow)"
    )
    return subprocess.Popen([sys.executable, "-c", code], text=True, stderr=subprocess.PIPE)


def wait_for_parts(cache: Path, process: subprocess.Popen[str], count: int = 3) -> None:
    until = time.monotonic() + 30
    while len(list(cache.glob("*.parts/*.parquet"))) < count:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_goes_on_where_it_was(tmp_path: Path, opened: list[str], how: signal.Signals) -> None:
    root, cache = dataset(tmp_path / "set", images=360), tmp_path / "cache"
    process = run_slowly(root, cache)
    wait_for_parts(cache, process)
    process.send_signal(how)
    process.communicate(timeout=30)
    assert process.returncode != 0
    parts = pl.concat([pl.read_parquet(part) for part in cache.glob("*.parts/*.parquet")])
    assert parts.height >= 8
    data = examine(root, cache_dir=cache)
    assert not set(opened) & {Path(image).name for image in parts["image"]}
    assert len(opened) == data.images.filter("exists").height - parts.height
    assert data.images.equals(examine(root, cache=False).images)
    assert not list(cache.glob("*.parts")), "the journal is merged"


def test_files_that_vanish_during_the_scan_are_rows(tmp_path: Path) -> None:
    root = dataset(tmp_path / "set", images=60)
    doomed = sorted((root / "class 2").glob("*.png"))

    def remove(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "measure images" and done:
            for path in doomed:
                path.unlink(missing_ok=True)

    data = examine(root, cache_dir=tmp_path / "cache", workers=1, progress=remove)
    assert data.images.height == 60 + len(ODD) + 5
    gone = data.images.filter(~pl.col("exists"))
    assert 10 < gone.height <= len(doomed) + 1
    assert gone["error"].null_count() == gone.height
    picture(doomed[0])
    again = examine(root, cache_dir=tmp_path / "cache")
    assert again.images.filter(pl.col("image").str.ends_with("/" + doomed[0].name))["decoded"].all()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_a_row_until_it_has_one(tmp_path: Path) -> None:
    root = dataset(tmp_path / "set", images=3)
    (root / "class 0" / "0.png").chmod(0)
    row = examine(root, cache_dir=tmp_path / "cache").images.filter(image="class 0/0.png").row(0, named=True)
    assert row["error"] == "cannot be read: Permission denied"
    (root / "class 0" / "0.png").chmod(0o600)
    assert examine(root, cache_dir=tmp_path / "cache").images.filter(image="class 0/0.png")["decoded"].item()


def test_a_failing_disk_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = dataset(tmp_path / "set", images=3)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        broken = examine(root, cache_dir=tmp_path / "cache")
    assert broken.images.filter(image="class 0/0.png")["error"].item() == "cannot be read: Input/output error"
    assert examine(root, cache_dir=tmp_path / "cache").images.filter(image="class 0/0.png")["decoded"].item()


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    data = examine(dataset(tmp_path / "set", images=3), cache_dir=tmp_path / "file" / "cache")
    assert data.images["decoded"].sum() == 3 + len(ODD)


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child()
    yield made
    made.close(kill=True)


def test_a_process_that_crashes_or_hangs_costs_one_row(
    tmp_path: Path, child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "a.png")
    job = Job(str(tmp_path), int(Tier.PIXELS))
    assert child.ask(job, ["a.png"])[0]["decoded"]
    child._process.kill()
    with pytest.raises(ChildLostError, match="crashed"):
        child.ask(job, ["a.png"])
    child.restart()
    assert child.ask(job, ["a.png"])[0]["decoded"]
    monkeypatch.setattr(local, "SECONDS", 0.3)
    os.kill(child._process.pid, signal.SIGSTOP)
    with pytest.raises(ChildLostError, match="more than"):
        child.ask(job, ["a.png"])


def test_the_other_images_of_a_chunk_outlive_the_one_that_crashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = dataset(tmp_path / "set", images=12)
    ask = Child.ask

    def crashes(self: Child, job: Job, chunk: list[str]) -> list[task.Row]:
        if "class 0/9.png" in chunk:
            self._process.kill()
        return ask(self, job, chunk)

    monkeypatch.setattr(local, "CHILDREN_FROM", 1)
    monkeypatch.setattr(Child, "ask", crashes)
    data = examine(root, cache=False, workers=2)
    bad = data.images.filter(pl.col("error").str.contains("crashed"))
    assert bad["image"].to_list() == ["class 0/9.png"]
    assert data.images["decoded"].sum() == 11 + len(ODD)


def test_an_engine_is_left_at_once_when_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = dataset(tmp_path / "set", images=60)
    monkeypatch.setattr(local, "CHILDREN_FROM", 1)

    def interrupt(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "measure images" and done > 4:
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        examine(root, cache_dir=tmp_path / "cache", workers=2, progress=interrupt)
    kept = cache_module.load(tmp_path / "cache", root, Tier.PIXELS)
    assert kept.height > 0
    until = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() == before
