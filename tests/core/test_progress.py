"""Progress bars: seen on a terminal, silent elsewhere, and right in what they tell a bar of the user's own."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import pytest

import naiad
from naiad import progress
from naiad.errors import InvalidArgument
from naiad.types import File
from naiad.typing import ProgressBarCallback
from naiad.utils import NullProgressBar, TqdmProgressBar

LARGE = bytes(range(256)) * 2000


class Bar(ProgressBarCallback):
    """Remembers what it is told."""

    made: ClassVar[list[Bar]] = []

    def __init__(self, *args: Any, description: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, description=description, **kwargs)
        self.told: list[tuple[int, int | None]] = []
        self.is_entered = self.is_left = False
        Bar.made.append(self)

    def __enter__(self) -> Bar:
        self.is_entered = True
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.is_left = True

    def update(self, *, by: int, total: int | None = None) -> None:
        assert self.is_entered
        assert not self.is_left
        self.told.append((by, total))


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Bar.made.clear()
    yield
    Bar.made.clear()


def check(total: int, word: str) -> None:
    """One bar was made, told of the right total, and as much was done."""
    (bar,) = Bar.made
    assert bar.is_left
    assert word in str(bar.description)
    assert {total} == {of for _by, of in bar.told}
    assert total == sum(by for by, _of in bar.told)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, content in {"a": b"few", "sub/b": LARGE, "sub/c": LARGE[:5000]}.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(content)
    return tmp_path / "data"


SIZE = 3 + len(LARGE) + 5000


@pytest.mark.parametrize("content", [b"", b"few", LARGE], ids=len)
@pytest.mark.parametrize("is_settled", [True, False])
def test_download_of_a_file(run: naiad.Run, tmp_path: Path, content: bytes, is_settled: bool) -> None:
    run["x/y"].upload(content, wait=is_settled)

    run["x/y"].download(tmp_path / "out", progress_bar=Bar)

    check(len(content), "x/y")


def test_download_of_a_series(run: naiad.Run, tmp_path: Path) -> None:
    run["x"].extend([b"few", LARGE, b""])

    run["x"].download(tmp_path / "out", progress_bar=Bar)

    check(3 + len(LARGE), "x")


def test_download_of_a_set(run: naiad.Run, data: Path, tmp_path: Path) -> None:
    run["x"].upload_files(str(data))

    run["x"].download(tmp_path / "out.zip", progress_bar=Bar)

    check(SIZE, "x")


def test_download_of_an_artifact(run: naiad.Run, data: Path, tmp_path: Path) -> None:
    run["x"].track_files(data)

    run["x"].download(tmp_path / "out", progress_bar=Bar)

    check(SIZE, "x")


def test_tracking_hashes_what_is_not_known_yet(run: naiad.Run, data: Path) -> None:
    run["x"].track_files(data, progress_bar=Bar)

    check(SIZE, str(data))


def test_fetch_of_values(run: naiad.Run) -> None:
    run["numbers"].extend([0.5] * 7)
    run["texts"].extend(["a"] * 7)
    run["files"].extend([b"a"] * 7)
    for path in ("numbers", "texts", "files"):
        Bar.made.clear()
        assert 7 == len(run[path].fetch_values(progress_bar=Bar))

        check(7, "")


@pytest.mark.parametrize("how", ["path", "bytes"])
def test_upload_of_a_file(run: naiad.Run, data: Path, how: str) -> None:
    run["x"].upload(LARGE if how == "bytes" else data / "sub" / "b", progress_bar=Bar)

    check(len(LARGE), "Copying")


def test_upload_of_few_bytes(run: naiad.Run, data: Path) -> None:
    run["x"].upload(data / "a", progress_bar=Bar)

    check(3, "Copying")


def test_upload_of_a_set(run: naiad.Run, data: Path) -> None:
    run["x"].upload_files(data, progress_bar=Bar)

    check(SIZE, "x")


@pytest.mark.parametrize("longest", [len(LARGE) + 1, len(LARGE)])
def test_bar_is_shown_by_itself_from_some_size_on(
    run: naiad.Run, data: Path, monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    monkeypatch.setattr(progress, "LONG_UPLOAD", longest)
    monkeypatch.setattr(progress, "TqdmProgressBar", Bar)
    monkeypatch.setattr(progress, "_is_seen", lambda: True)

    run["x"].upload(data / "sub" / "b")
    run["y"].upload_files(data / "sub" / "b")
    run["z"].append(File(data / "sub" / "b"))

    assert (3 if longest == len(LARGE) else 0) == len(Bar.made)


@pytest.mark.parametrize("bar", [False, None, True, NullProgressBar])
def test_nothing_is_printed_when_nobody_looks(
    run: naiad.Run, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], bar: Any
) -> None:
    everything(run, data, tmp_path / "out", bar)

    assert ("", "") == capfd.readouterr()


def everything(run: naiad.Run, data: Path, out: Path, bar: Any) -> None:
    run["file"].upload(data / "sub" / "b", progress_bar=bar)
    run["set"].upload_files(data, progress_bar=bar)
    run["artifact"].track_files(data, progress_bar=bar)
    run["series"].append(LARGE)
    run["numbers"].append(0.5)
    for path in ("file", "set", "artifact", "series"):
        run[path].download(out / path, progress_bar=bar)
    run["numbers"].fetch_values(progress_bar=bar)


@pytest.mark.parametrize("bar", ["tqdm", 5, object, Bar.__mro__[-1], lambda: None])
def test_what_is_no_bar_is_refused(run: naiad.Run, tmp_path: Path, bar: Any) -> None:
    run["x"].upload(LARGE)

    with pytest.raises(InvalidArgument, match="ProgressBarCallback"):
        run["x"].download(tmp_path / "out", progress_bar=bar)
    with pytest.raises(InvalidArgument, match="ProgressBarCallback"):
        run["y"].upload(LARGE, progress_bar=bar)

    assert not run.exists("y")
    assert not (tmp_path / "out").exists()


def test_bar_that_raises_stops_what_it_shows_and_leaves_nothing(run: naiad.Run, store: Path, tmp_path: Path) -> None:
    class Impatient(Bar):
        def update(self, *, by: int, total: int | None = None) -> None:
            raise KeyboardInterrupt

    run["x"].upload(LARGE, wait=True)
    for act in (
        lambda: run["x"].download(tmp_path / "out", progress_bar=Impatient),
        lambda: run["y"].upload(LARGE, progress_bar=Impatient),
    ):
        with pytest.raises(KeyboardInterrupt):
            act()

    assert not run.exists("y")
    assert [] == [path.name for path in tmp_path.iterdir() if path.name not in (".naiad", "cache")]
    assert [] == list((store / "blobs").glob("incoming/*"))


def test_threads_report_one_at_a_time() -> None:
    with progress.showing(Bar, "x", 8000) as report:
        threads = [threading.Thread(target=lambda: [report(1) for _ in range(1000)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    check(8000, "x")


PROGRAM = """
import sys, warnings
warnings.simplefilter("error")
import naiad
from naiad import progress
progress.LONG_UPLOAD = 1000
run = naiad.init_run()
run["a/b"].upload(b"x" * 300_000)
run["a/b"].download(sys.argv[1])
run.stop()
"""


@pytest.fixture
def on_terminal(store: Path, tmp_path: Path) -> Callable[[str], str]:
    """What a program shows on a terminal."""

    def start(program: str) -> str:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "out")], stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # Linux's word for the end of a terminal
            pass
        os.close(ours)
        assert 0 == child.wait(timeout=60), shown.decode()
        return shown.decode()

    return start


def test_terminal_shows_the_bar(on_terminal: Callable[[str], str], tmp_path: Path) -> None:
    shown = on_terminal(PROGRAM)

    assert "Downloading a/b" in shown
    assert "Copying" in shown
    assert 300_000 == (tmp_path / "out").stat().st_size


LISTING = """
import sys, naiad
from naiad.cli import main
from naiad.storage.local import catalog
catalog.BATCH = 1
for _ in range(3):
    naiad.init_run(capture_stdout=False).stop()
sys.argv = ["naiad", {words}]
main()
"""


@pytest.mark.parametrize("words", ['"ls"', '"repair", "--catalog"'])
def test_commands_that_make_the_catalog_show_the_bar(on_terminal: Callable[[str], str], words: str) -> None:
    shown = on_terminal(LISTING.format(words=words))

    assert "Reading runs" in shown


def test_pipe_shows_nothing(store: Path, tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "out")], capture_output=True, text=True, check=True, timeout=60
    )

    assert ("", "") == (child.stdout, child.stderr)


def test_standard_bar_can_be_asked_for_by_name(
    run: naiad.Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run["x"].upload(LARGE)

    run["x"].download(tmp_path / "out", progress_bar=TqdmProgressBar)

    assert "Downloading x" in capfd.readouterr().err
