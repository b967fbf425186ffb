"""The settings file: defaults without it, and one line for each mistake in it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from postflight.settings import Names, ProbeUserSettings, RedisNames, Settings, SettingsError, load, unknown_names


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        path = Path("settings.yaml")
        path.write_text(text)
        return path

    return write


def test_without_a_file_everything_has_its_default() -> None:
    assert load(None) == Settings()


def test_an_empty_file_is_no_mistake(file: Callable[[str], Path]) -> None:
    assert load(file("")) == Settings()


def test_a_file(file: Callable[[str], Path]) -> None:
    text = """
        namespaces: [matrix]
        names:
          redis: {workloads: [redis-ha], password_secret: redis-password/password}
        expect: [redis, postgres]
        out_of_reach: {security.network_policy: the customer runs the network}
        probe_pod: {spec: {priorityClassName: low}}
    """
    assert load(file(text)) == Settings(
        namespaces=("matrix",),
        names=Names(redis=RedisNames(workloads=("redis-ha",), password_secret="redis-password/password")),
        expect=("redis", "postgres"),
        out_of_reach={"security.network_policy": "the customer runs the network"},
        probe_pod={"spec": {"priorityClassName": "low"}},
    )


def test_what_lawful_intercept_was_promised_and_how_a_key_vault_is_asked(file: Callable[[str], Path]) -> None:
    text = """
        key_vault: {fetch: "GET /r/{id}", store: "PUT /r/{id}"}
        li: {keeps_purged: on, retention_since: 2026-01-31}
    """
    found = load(file(text))
    assert (found.key_vault.fetch, found.li.keeps_purged, str(found.li.since)) == ("GET /r/{id}", True, "2026-01-31")
    assert Settings().li.since is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "li: {retention_since: soon}",
            "settings.yaml:1: li: retention_since must be a day such as 2026-01-31, not 'soon'",
        ),
        ("key_vault: {store: r}", "settings.yaml:1: key_vault: store must be <METHOD> /<path>, not 'r'"),
        (
            "key_vault: {fetch: POST /r}",
            "settings.yaml:1: key_vault: fetch must be a GET: what is asked with a wrong key must change nothing",
        ),
        ("key_vault: {body: x}", "settings.yaml:1: key_vault: body must hold {record}"),
        ("namspaces: [a]", "settings.yaml:1: unknown key 'namspaces'; nearest is 'namespaces'"),
        (
            "names:\n  redis:\n    workloud: x",
            "settings.yaml:3: names.redis: unknown key 'workloud'; nearest is 'workloads'",
        ),
        (
            "names: {radis: {}}",
            "settings.yaml:1: names: unknown key 'radis'; nearest is 'redis'",
        ),
        ("namespaces: matrix", "settings.yaml:1: namespaces: must be a list"),
        ("namespaces: [a, 1]", "settings.yaml:1: namespaces[1]: must be text, not 1"),
        ("out_of_reach: {a.b: no}", "settings.yaml:1: out_of_reach.a.b: must be text, not False"),
        ("names: on", "settings.yaml:1: names: must be keys with values, not True"),
        ("probe_pod: []", "settings.yaml:1: probe_pod: must be keys with values"),
        (
            "names: {redis: {password_secret: a/}}",
            "settings.yaml:1: names.redis: password_secret must be <Secret>/<key>, not 'a/'",
        ),
        ("federation: 'off'", "settings.yaml:1: federation: must be on or off, without quotes"),
        ("federation: auto", "settings.yaml:1: federation: must be on or off, without quotes"),
        ("probe_user: {token: abc}", "settings.yaml:1: probe_user: unknown key 'token'; nearest is 'token_env'"),
        ("probe_user: abc", "settings.yaml:1: probe_user: must be keys with values"),
        ("probe_user: {token_file: ''}", "settings.yaml:1: probe_user.token_file: must not be empty"),
        (
            "probe_user: {token_file: /t, token_env: T}",
            "settings.yaml:1: probe_user: name a file or an environment variable, not both",
        ),
        (
            "probe_user: {token_file: /t, user: u, password_env: P}",
            "settings.yaml:1: probe_user: name a token, or a user with a password, not both",
        ),
        ("probe_user: {user: u}", "settings.yaml:1: probe_user: a user needs password_file or password_env"),
        ("probe_user: {password_env: P}", "settings.yaml:1: probe_user: a user needs password_file or password_env"),
        ("- matrix", "settings.yaml:1: must be keys with values"),
        ("eicar: on\neicar: off", "settings.yaml:2: the key 'eicar' stands twice"),
        ("on: 1", "settings.yaml:1: the key on is no text: quote it"),
        ("a: [1\nb: 2", "settings.yaml:2: expected ',' or ']', but got ':'"),
        ("probe_pod: &a {x: *a}", "settings.yaml: an alias leads back to itself"),
        ("probe_image: !!python/object:os.system x", "settings.yaml:1: could not determine a constructor"),
    ],
)
def test_a_mistake_is_one_line(file: Callable[[str], Path], text: str, line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(file(text))
    (told,) = caught.value.lines
    assert told.startswith(line)
    assert "\n" not in told


@pytest.mark.parametrize(("text", "said"), [("on", True), ("off", False), ("true", True), ("~", None)])
def test_of_federation_the_settings_say_on_or_off_or_nothing(
    file: Callable[[str], Path], text: str, said: bool | None
) -> None:
    assert load(file(f"federation: {text}")).federation is said


def test_an_account_is_named_by_where_its_secret_is(file: Callable[[str], Path]) -> None:
    text = "probe_user: {user: checker, password_file: /run/secrets/checker}"
    given = ProbeUserSettings(user="checker", password_file="/run/secrets/checker")
    assert load(file(text)).probe_user == given


def test_every_mistake_is_told_at_once(file: Callable[[str], Path]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(file("eicar: 1\nnamspaces: []\nnames: {redis: {x: 1}}"))
    assert len(caught.value.lines) == 3


def test_names_of_checks_and_parts_that_do_not_exist_are_told() -> None:
    settings = Settings(expect=("redis", "postgress"), out_of_reach={"databse.login": "no right"})
    assert unknown_names(settings, checks=["database.login"], parts=["redis", "postgres"]) == (
        "settings: out_of_reach: there is no check 'databse.login'; nearest is 'database.login'",
        "settings: expect: there is no part 'postgress'; nearest is 'postgres'",
    )


def test_no_library_is_loaded_before_there_is_a_file_to_read() -> None:
    program = (
        "import sys, postflight.settings, postflight.verdict.waivers as w;"
        "postflight.settings.load(None); w.load(None, []);"
        "sys.exit(bool({'pydantic', 'yaml'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0


class TestDisruption:
    def test_has_bounds_of_its_own(self, tmp_path: Path) -> None:
        file = tmp_path / "s.yaml"
        file.write_text("disruption: {risk_slots: on, recovery: 60, outage: {redis: 12.5}}\n")
        given = load(file).disruption
        assert (given.risk_slots, given.recovery, given.outage.redis, given.outage.proxy) == (True, 60, 12.5, 15)
        assert Settings().disruption.risk_slots is False

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("recovery: 1000", "recovery must be between 0 and 300 seconds"),
            ("outage: {node: 0}", "node must be more than 0 seconds"),
            ("outage: {main: 5}", "unknown key"),
        ],
    )
    def test_that_no_part_could_keep_is_refused(self, tmp_path: Path, text: str, words: str) -> None:
        file = tmp_path / "s.yaml"
        file.write_text(f"disruption: {{{text}}}\n")
        with pytest.raises(SettingsError, match=words):
            load(file)
