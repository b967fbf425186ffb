"""Set-up runs each step once per content, goes on after an interruption, and finds the machine's own mirror."""

import io
import tarfile
import threading
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.homes import Home, home
from lab.setup import apt, image, runner
from lab.setup.runner import Step, Work


def step(
    name: str, ran: list[str], out: Path, content: str = "", after: tuple[str, ...] = (), fail: bool = False
) -> Step:
    def make(work: Work) -> None:
        ran.append(name)
        if fail:
            work.run("sh", "-c", "echo this is why >&2; exit 3")
        (out / name).write_text(content)

    return Step(name, f"step {name}", make, content, (out / name,), after)


def quiet(line: str) -> None:
    pass


def test_a_step_runs_once_per_content_and_what_follows_runs_again(tmp_path: Path) -> None:
    ran: list[str] = []
    where = Home(tmp_path)
    steps = [step("a", ran, tmp_path, "1"), step("b", ran, tmp_path), step("c", ran, tmp_path, after=("a", "b"))]
    runner.run(where, steps, quiet)
    assert sorted(ran[:2]) == ["a", "b"]
    assert ran[2:] == ["c"]
    assert runner.to_do(where, steps) == []
    ran.clear()
    runner.run(where, [step("a", ran, tmp_path, "2"), *steps[1:]], quiet)
    assert ran == ["a", "c"]


def test_independent_steps_run_side_by_side(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=5)

    def meet(work: Work) -> None:
        both.wait()

    steps = [Step(name, name, meet, "", ()) for name in ("a", "b")]
    runner.run(Home(tmp_path), steps, quiet)


def test_a_failed_step_says_why_and_is_done_again(tmp_path: Path) -> None:
    ran: list[str] = []
    steps = [step("good", ran, tmp_path), step("bad", ran, tmp_path, after=("good",), fail=True)]
    with pytest.raises(LabError, match="step bad: sh: this is why"):
        runner.run(Home(tmp_path), steps, quiet)
    assert [s.name for s in runner.to_do(Home(tmp_path), steps)] == ["bad"]


def test_an_output_that_was_removed_is_made_again(tmp_path: Path) -> None:
    steps = [step("a", [], tmp_path)]
    runner.run(Home(tmp_path), steps, quiet)
    (tmp_path / "a").unlink()
    assert runner.to_do(Home(tmp_path), steps) == steps


def test_a_failure_ends_what_runs_beside_it(tmp_path: Path) -> None:
    done = threading.Event()

    def long(work: Work) -> None:
        try:
            work.run("sleep", "60")
        finally:
            done.set()

    steps = [Step("long", "long", long, "", ()), step("bad", [], tmp_path, fail=True)]
    with pytest.raises(LabError):
        runner.run(Home(tmp_path), steps, quiet)
    assert done.wait(5)


DEB822 = """
Types: deb
# a comment in between
URIs: http://mirror.test/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.test/debian-security
Suites: bookworm-security
Components: main
"""
ONE_LINE = """
# deb http://old.test/debian bookworm main
deb-src http://mirror.test/debian bookworm main
deb [arch=amd64] http://mirror.test/debian bookworm main contrib
deb [signed-by=/etc/apt/keyrings/vendor.gpg] http://vendor.test/apt bookworm main
deb http://vendor.test/other bookworm stable
"""


def sources(tmp_path: Path, name: str, text: str) -> list[tuple[str, str]]:
    (tmp_path / "sources.list.d").mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    return [(source.uri, source.suite) for source in apt.sources(tmp_path)]


def test_sources_in_the_newer_format(tmp_path: Path) -> None:
    assert sources(tmp_path, "sources.list.d/debian.sources", DEB822) == [
        ("http://mirror.test/debian", "bookworm"),
        ("http://mirror.test/debian", "bookworm-updates"),
        ("http://mirror.test/debian-security", "bookworm-security"),
    ]


def test_sources_in_the_older_format_without_other_vendors(tmp_path: Path) -> None:
    assert sources(tmp_path, "sources.list", ONE_LINE) == [("http://mirror.test/debian", "bookworm")]


def test_another_release_lends_its_mirror(tmp_path: Path) -> None:
    made = sources(tmp_path, "sources.list", "deb http://mirror.test/debian trixie main\n")
    assert made == [("http://mirror.test/debian", "bookworm")]


def test_another_distribution_lends_nothing(tmp_path: Path) -> None:
    assert sources(tmp_path, "sources.list", "deb http://mirror.test/ubuntu noble main\n") == []


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTFLIGHT_HOME", "/srv/cache")
    assert home().root == Path("/srv/cache")
    monkeypatch.delenv("POSTFLIGHT_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/srv/xdg")
    assert home().root == Path("/srv/xdg/postflight")


@pytest.mark.parametrize("covered", ["/var/lib/postflight", "/run/x", "/var/log"])
def test_a_cache_that_a_node_cannot_see_is_refused(monkeypatch: pytest.MonkeyPatch, covered: str) -> None:
    monkeypatch.setenv("POSTFLIGHT_HOME", covered)
    with pytest.raises(LabError, match="set POSTFLIGHT_HOME to another folder"):
        home()


def test_lab_names_are_checked() -> None:
    with pytest.raises(LabError, match="a lab's name"):
        Home(Path("/srv")).lab("../etc")


def test_an_image_that_was_made_again_is_another(tmp_path: Path) -> None:
    """Else a kept state has other layers than what is put upon them: made twice of the same, they are not the same."""
    made = Home(tmp_path)
    made.image.mkdir()

    def identity(digest: str) -> bytes:
        with tarfile.open(made.image / "image.tar", "w") as tar:
            entry = tarfile.TarInfo("manifest.json")
            entry.size = len(digest)
            tar.addfile(entry, io.BytesIO(digest.encode()))
        return image.identity(made)

    assert identity("one") == identity("one") != identity("two")
