"""The account that the settings give: read before anything is touched, and never said aloud."""

from __future__ import annotations

from pathlib import Path

import pytest

from postflight.account import NOBODY, Account, read
from postflight.secrets import Redactor, Secret
from postflight.settings import ProbeUserSettings, SettingsError

TOKEN = "syt_cG9zdGZsaWdodA_token_of_somebody"


def refused(named: ProbeUserSettings, **environment: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read(named, environment)
    (line,) = caught.value.lines
    assert "\n" not in line
    return line


def test_none_is_given() -> None:
    assert read(ProbeUserSettings(), {}) == NOBODY
    assert not NOBODY.given


def test_a_token_of_a_file_or_of_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    for named in (ProbeUserSettings(token_file=str(file)), ProbeUserSettings(token_env="TOKEN")):
        account = read(named, {"TOKEN": TOKEN})
        assert (account.token, account.given) == (Secret(TOKEN), True)
        assert TOKEN not in repr(account)


def test_a_user_with_its_password_blanks_and_all(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse battery \r\n")
    account = read(ProbeUserSettings(user="probe", password_file=str(file)), {})
    assert account == Account(user="probe", password=Secret("correct horse battery "))


def test_it_is_hidden_in_all_that_the_run_says() -> None:
    redactor = Redactor()
    Account(token=Secret(TOKEN)).register(redactor)
    Account(user="probe", password=Secret("correct horse")).register(redactor)
    NOBODY.register(redactor)
    assert redactor.redact(f"Bearer {TOKEN}, correct horse") == "Bearer <a>, <b>"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        (f"{TOKEN}\nmore-of-a-secret", "holds no token"),
        (f"{TOKEN} more-of-a-secret", "holds more than one word, and so no token"),
        ("x" * 5000, "holds no token"),
        ("tökens-are-plain", "holds no token"),
    ],
)
def test_a_file_that_holds_none_is_told_and_its_content_is_not(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    told = refused(ProbeUserSettings(token_file=str(file)))
    assert told.endswith(f"{file} {line}")
    assert "secret" not in told.removeprefix("settings: probe_user: ")


def test_what_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "none"
    line = refused(ProbeUserSettings(user="probe", password_file=str(file)))
    assert line == f"settings: probe_user: password_file: {file}: No such file or directory"
    assert refused(ProbeUserSettings(token_file=str(tmp_path))).endswith("Is a directory")
    line = refused(ProbeUserSettings(token_env="PROBE_TOKEN"))
    assert line == "settings: probe_user: token_env: the environment has no PROBE_TOKEN"
    file.write_bytes(b"\xff\xfe")
    assert refused(ProbeUserSettings(token_file=str(file))).endswith("no text")
