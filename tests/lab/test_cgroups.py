"""Both versions of cgroups, on folders that look like them."""

from pathlib import Path

import pytest

from lab.node import cgroups


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    return tmp_path


def test_version_2_gives_every_controller_down_to_the_parent(root: Path) -> None:
    (root / "cgroup.controllers").write_text("cpuset cpu memory pids\n")
    (root / "cgroup.subtree_control").write_text("")
    for name in ("lab", "lab/node1"):
        (root / name).mkdir()
    (root / "lab/cpu.weight").write_text("100")
    cgroups.create("lab/node1")
    assert int((root / "lab/cpu.weight").read_text()) > 100
    for folder in (root, root / "lab", root / "lab/node1"):
        assert (folder / "cgroup.subtree_control").read_text() == "+cpuset +cpu +memory +pids"
    assert cgroups.missing() == []


def test_version_2_without_a_controller_is_told(root: Path) -> None:
    (root / "cgroup.controllers").write_text("cpu pids\n")
    assert cgroups.missing() == ["memory"]


def test_version_1_fills_a_new_cpuset(root: Path) -> None:
    for tree in ("cpu", "cpuset"):
        (root / tree).mkdir()
        (root / tree / "cgroup.procs").touch()
    for folder, value in (("cpuset", "0-1"), ("cpuset/lab", ""), ("cpuset/lab/node1", "")):
        (root / folder).mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            (root / folder / file).write_text(value)
    (root / "cpu/lab").mkdir()
    (root / "cpu/lab/cpu.shares").write_text("1024")
    cgroups.create("lab/node1")
    assert int((root / "cpu/lab/cpu.shares").read_text()) > 1024
    assert (root / "cpuset/lab/cpuset.cpus").read_text() == "0-1"
    assert (root / "cpuset/lab/node1/cpuset.mems").read_text() == "0-1"
    assert (root / "cpu/lab/node1").is_dir()


def test_removal_takes_all_below(root: Path) -> None:
    (root / "cpu").mkdir()
    (root / "cpu/cgroup.procs").touch()
    (root / "cpu/lab/node1/kubepods").mkdir(parents=True)
    cgroups.remove("lab")
    assert not (root / "cpu/lab").exists()
    cgroups.remove("lab")
