"""A copy of a state shares images, holds all else, and is right although the original changes meanwhile."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from lab.node import clone

SNAPSHOTS = "containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    for name, text in {
        f"{SNAPSHOTS}/1/fs/bin/sh": "layer",
        f"{SNAPSHOTS}/9/fs/tmp/log": "of a container",
        "etcd/db": "old",
        "etcd/gone": "soon",
        "volumes/data/file": "v",
        "kubelet/cpu_manager_state": "{}",
        "logs/etcd.log": "not copied",
        "node2/etcd/db": "second",
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    os.link(home / f"{SNAPSHOTS}/1/fs/bin/sh", tmp_path / "the image's own name")
    (home / "volumes/data/link").symlink_to("file")
    (home / "volumes/data").chmod(0o1777)
    return home


def test_images_are_shared_and_nothing_else(state: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    clone.everything(state, copy, nullcontext())
    assert (copy / f"{SNAPSHOTS}/1/fs/bin/sh").samefile(state / f"{SNAPSHOTS}/1/fs/bin/sh")
    for name in (f"{SNAPSHOTS}/9/fs/tmp/log", "etcd/db", "volumes/data/file", "node2/etcd/db"):
        assert (copy / name).read_text() == (state / name).read_text()
        assert not (copy / name).samefile(state / name)
    assert (copy / "volumes/data/link").readlink() == Path("file")
    assert (copy / "volumes/data").stat().st_mode & 0o7777 == 0o1777


def test_what_belongs_to_one_boot_stays_behind(state: Path, tmp_path: Path) -> None:
    clone.everything(state, tmp_path / "copy", nullcontext())
    assert not (tmp_path / "copy/kubelet/cpu_manager_state").exists()
    assert not (tmp_path / "copy/logs").exists()


def test_changes_before_the_lab_stands_still_are_in_the_copy(state: Path, tmp_path: Path) -> None:
    @contextmanager
    def late() -> Iterator[None]:
        (state / "etcd/db").write_text("new")
        (state / "etcd/more").write_text("more")
        (state / "etcd/gone").unlink()
        (state / f"{SNAPSHOTS}/9/fs/tmp/log").unlink()
        (state / f"{SNAPSHOTS}/10/fs").mkdir(parents=True)
        yield

    copy = tmp_path / "copy"
    clone.everything(state, copy, late())
    assert (copy / "etcd/db").read_text() == "new"
    assert (copy / "etcd/more").read_text() == "more"
    assert not (copy / "etcd/gone").exists()
    assert not (copy / f"{SNAPSHOTS}/9/fs/tmp/log").exists()
    assert (copy / f"{SNAPSHOTS}/10/fs").is_dir()
