"""What a user of the lab's command sees when something is wrong: one line, with the remedy."""

from pathlib import Path

import pytest

from lab import cli


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POSTFLIGHT_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["up"], "the lab is not set up: run `make setup`"),
        (["up", "--nodes", "0"], "--nodes is a number from 1"),
        (["up", "--name", "no/name"], "a lab's name is up to 32 of a-z, 0-9 and -"),
        (["down", "--name", "producton"], "no lab is called producton: did you mean production?"),
        (["status", "--name", "x"], "no lab is called x: there are: production"),
        (["shell", "--name", "production"], "lab production is not up: `make lab-up NAME=production`"),
        (["break", "database-pasword"], "no defect is called database-pasword: did you mean database-password"),
        (["fork", "nothing", "copy"], "no lab is called nothing"),
        (["fork", "production", "production"], "lab production exists"),
        (["up", "--from", "stopped", "--name", "gone"], "not set up"),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(
    cache: Path, capsys: pytest.CaptureFixture[str], argv: list[str], told: str
) -> None:
    (cache / "labs/production").mkdir(parents=True)
    (cache / "labs/production/spec.json").write_text("{}")
    assert cli.main(argv) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("lab: ")
    assert told in captured.err
    assert captured.err.count("\n") == 1
