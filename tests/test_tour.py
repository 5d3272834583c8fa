"""``python -m convpool``: the tour with and without matplotlib, on any image, and ``info``."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import convpool
from convpool import _core, _speed
from convpool.__main__ import main

BLOCK = "import sys; sys.modules.update(dict.fromkeys({names!r})); import runpy; "
RUN = "sys.argv[0] = 'convpool'; runpy.run_module('convpool', run_name='__main__')"
PEERS = ["torch", "scipy.signal", "cv2"]


def run(*arguments: str, block: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process that has no display and lacks some modules."""
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    paths = [str(Path(convpool.__file__).parents[1]), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return subprocess.run(
        [sys.executable, "-c", BLOCK.format(names=block) + RUN, *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def check_chapter(output: str) -> None:
    assert "WRONG" not in output
    assert len(re.findall(r"^  6\.\d\.\d  .*  ok$", output, re.MULTILINE)) == 17
    assert "[18.309 4.961 1.606 0.587 0.228]" in output
    assert "[[0.9347 -1.0316]]" in output
    assert len(output.splitlines()) <= 80
    assert max(map(len, output.splitlines())) <= 120


def size_of_png(path: Path) -> tuple[int, int]:
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")


def test_tour_without_display(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run(block=[], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    check_chapter(done.stdout)
    assert "Photograph grace_hopper.jpg, 600 x 512" in done.stdout
    errors = re.findall(r"largest error (\S+)$", done.stdout, re.MULTILINE)
    assert len(errors) == 3
    assert max(map(float, errors)) < 1e-4
    assert "\r" not in done.stdout
    assert re.search(r"direct +im2col +NumPy", done.stdout, re.MULTILINE)
    picture = tmp_path / "convpool-tour.png"
    assert size_of_png(picture) == (1200, 750)
    assert picture.stat().st_size < 400_000


def test_tour_without_matplotlib(tmp_path: Path) -> None:
    done = run("--quick", block=[*PEERS, "matplotlib"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    check_chapter(done.stdout)
    assert 'pip install "convpool[tour]"' in done.stdout
    assert "Photograph" not in done.stdout
    assert list(tmp_path.iterdir()) == []
    done = run("--image", "any.png", block=["matplotlib"], cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == 'convpool: --image needs matplotlib: pip install "convpool[tour]"\n'


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    assert convpool.__version__ in printed
    assert str(_core.build_config()["instruction_set"]) in printed
    convpool.show_config()
    assert capsys.readouterr().out == printed


@pytest.fixture
def no_speed_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convpool._tour.speed_table", lambda quick: [])


@pytest.mark.usefixtures("no_speed_table")
@pytest.mark.parametrize("kind", ["grey", "colour", "alpha", "large", "plain"])
def test_own_image(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = pytest.importorskip("matplotlib.image")
    shape = {"colour": (160, 200, 3), "alpha": (160, 200, 4), "large": (120, 2000, 3)}
    # Sums of noise are about as smooth as photographs.
    noise = np.random.default_rng(0).normal(size=shape.get(kind, (160, 200)))
    pixels = np.cumsum(np.cumsum(noise, axis=0), axis=1)
    pixels = (pixels - pixels.min()) / np.ptp(pixels)
    if kind == "alpha":
        pixels[..., 3] = 1
    if kind == "plain":
        pixels[:] = 0.5
    source, target = tmp_path / "mine.png", tmp_path / "picture.png"
    images.imsave(source, pixels, **({} if pixels.ndim == 3 else {"cmap": "gray"}))
    quick = [] if kind == "large" else ["--quick"]
    assert main(["--image", str(source), "--output", str(target), *quick]) == 0
    printed = capsys.readouterr().out
    shown = "40 x 666" if kind == "large" else "80 x 100"
    assert f"Photograph mine.png, {shown}" in printed
    assert ("too smooth or too plain" in printed) == (kind == "plain")
    assert size_of_png(target) == (1200, 750)


@pytest.mark.usefixtures("no_speed_table")
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.png", None, "cannot read"),
        ("text.png", b"not a picture", "cannot read"),
        ("tiny.png", np.zeros((5, 5)), "too small"),
    ],
)
def test_image_that_cannot_be_used(
    name: str,
    content: bytes | np.ndarray | None,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = pytest.importorskip("matplotlib.image")
    source = tmp_path / name
    if isinstance(content, bytes):
        source.write_bytes(content)
    elif content is not None:
        images.imsave(source, content)
    assert main(["--image", str(source)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("convpool: ")
    assert words in error


@pytest.mark.usefixtures("no_speed_table")
def test_picture_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    for name in ("missing/picture.png", "picture.words"):
        assert main(["--quick", "--output", str(tmp_path / name)]) == 2
        assert "cannot write" in capsys.readouterr().err


def test_speed_table_leaves_out_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError(name) if name == "torch" else ImportError(name)

    monkeypatch.setattr(_speed, "import_module", broken)
    title, header, *rows = _speed.speed_table(quick=True)
    assert title.endswith("NumPy's BLAS uses its own number of threads")
    assert header.split() == ["direct", "im2col", "NumPy"]
    assert [row.split()[0] for row in rows] == ["photograph", "3"]
    assert all(len(row) == len(header) for row in rows)
