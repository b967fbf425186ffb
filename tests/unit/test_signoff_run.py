"""``--signoff`` and ``postflight verify-signoff``, run as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from postflight import verify_signoff
from postflight.cluster.snapshot import Snapshot
from postflight.signoff.keys import VARIABLE
from tests.unit import recorded, test_plugin
from tests.unit.loopback import RecordedApi, answering
from tests.unit.test_plugin import SEEN, alone, checks, error, lab, run
from tests.unit.test_signoff import KEYS, pem, public_pem

__all__ = ["alone", "lab"]

pytest_plugins = ("pytester",)

Json = dict[str, Any]
UNPROVEN = SEEN.replace('judge.saw("redis")', 'judge.unproven("redis", "what it was told was not seen")')
RED = SEEN.replace('judge.saw("redis")', 'judge.wrong("redis", "it is full")')
HEAD = test_plugin.HEAD


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """The files of a private key and its public one; how keys differ is told elsewhere."""
    key = KEYS["ed25519"]()
    (tmp_path / "key.pem").write_bytes(pem(key))
    (tmp_path / "key.pub").write_bytes(public_pem(key))
    return tmp_path / "key.pem", tmp_path / "key.pub"


def reports(pytester: pytest.Pytester) -> set[str]:
    return {path.name for path in (pytester.path / "reports").iterdir()}


class TestRefusedBeforeTheRun:
    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            ((), "--signoff 1.2 refused: no key: --signoff-key FILE, or a PEM in POSTFLIGHT_SIGNOFF_KEY"),
            (("--signoff-key", "no.pem"), "--signoff 1.2 refused: --signoff-key no.pem cannot be read: No such file"),
            (("--safety", "read-only"), "--signoff 1.2 refused: a read-only run is never signed"),
            (("-k", "redis"), "--signoff 1.2 refused: a partial run (-k) is never signed"),
        ],
    )
    def test_in_one_line_with_exit_code_4(
        self, pytester: pytest.Pytester, arguments: tuple[str, ...], line: str
    ) -> None:
        checks(pytester)
        assert error(pytester, "--signoff", "1.2", "--kubeconfig", "none", *arguments).startswith(line)

    def test_a_release_has_a_name(self, pytester: pytest.Pytester) -> None:
        checks(pytester)
        assert error(pytester, "--signoff", " ") == "--signoff takes the name of a release"


class TestRefusedAfterTheRun:
    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (UNPROVEN, "redis.memory was seen by a weaker way: what it was told was not seen"),
            (RED, "failed: redis.memory"),
        ],
    )
    def test_it_is_told_everywhere_and_no_sign_off_is_left(
        self, pytester: pytest.Pytester, lab: str, pair: tuple[Path, Path], body: str, reason: str
    ) -> None:
        checks(pytester, body)
        (pytester.path / "reports").mkdir()
        (pytester.path / "reports" / "signoff.json").write_text("of an earlier run")
        options = ("--report-dir", "reports", "--signoff", "1.2", "--signoff-key", str(pair[0]))
        code, text = run(pytester, "--kubeconfig", lab, *options, "checks")
        assert code == 1
        line = f"sign-off of 1.2 refused: {reason}"
        assert line in " ".join(text.split())
        assert reports(pytester) == {"verdict.txt", "run.json", "junit.xml"}
        record = json.loads((pytester.path / "reports" / "run.json").read_text())
        assert line in (*record["trouble"], *record["notes"])
        assert record["exit"] == 1

    def test_a_run_that_saw_no_cluster_is_refused_too(self, pytester: pytest.Pytester, pair: tuple[Path, Path]) -> None:
        checks(pytester)
        code, text = run(pytester, "--kubeconfig", "none", "--signoff", "1.2", "--signoff-key", str(pair[0]), "checks")
        assert code == 1
        assert "sign-off of 1.2 refused: the cluster was not seen" in text


def kubeconfig(folder: Path, port: int) -> Path:
    document = {
        "clusters": [{"name": "lab", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "lab", "user": {"token": "a-token-of-the-lab"}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "current-context": "lab",
    }
    file = folder / "kubeconfig-verify"
    file.write_text(yaml.safe_dump(document))
    return file


class TestSigned:
    @pytest.fixture
    def verify(
        self,
        pytester: pytest.Pytester,
        lab: str,
        pair: tuple[Path, Path],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> Callable[..., tuple[int, str]]:
        """Sign the recorded lab, then verify it against another snapshot of it; gives code and output."""
        checks(pytester)
        monkeypatch.setenv(VARIABLE, pair[0].read_text())
        code, text = run(pytester, "--kubeconfig", lab, "--signoff", "1.2", "checks")
        assert code == 0, text
        assert "signed  1.2 by key " in text
        assert reports(pytester) == {"verdict.txt", "run.json", "junit.xml", "signoff.json", "signoff.html"}
        envelope = pytester.path / "reports" / "signoff.json"

        def against(snapshot: Snapshot, key: Path = pair[1], forbidden: tuple[str, ...] = ()) -> tuple[int, str]:
            with answering(RecordedApi(snapshot, forbidden=forbidden)) as (port, _):
                file = kubeconfig(pytester.path, port)
                capsys.readouterr()
                told = verify_signoff.main([str(envelope), "--key", str(key), "--kubeconfig", str(file)])
            return told, capsys.readouterr().out

        return against

    def test_it_holds_for_what_was_signed(self, verify: Callable[..., tuple[int, str]]) -> None:
        code, text = verify(recorded.healthy().snapshot)
        assert code == 0
        assert text.startswith("as signed: 1.2, of cluster lab, by ")
        assert text.count("\n") == 1

    def test_what_differs_is_named_in_one_line(self, verify: Callable[..., tuple[int, str]]) -> None:
        def change(raw: Json) -> None:
            recorded.item(raw, "ConfigMap", "haproxy-config")["data"]["haproxy.cfg"] = "global\n"

        code, text = verify(recorded.changed(change).snapshot)
        assert code == 1
        first, last = text.splitlines()
        assert first == "differs: configmap/matrix/haproxy-config is not as it was signed"
        assert last.startswith("not as signed: 1.2, of cluster lab")

    def test_what_cannot_be_seen_is_told_apart(self, verify: Callable[..., tuple[int, str]]) -> None:
        code, text = verify(recorded.healthy().snapshot, forbidden=("/apis/policy",))
        assert code == 6
        assert "genuine (1.2, of cluster lab" in text
        assert "no right" in text
        assert "policy" in text

    def test_a_file_that_is_no_key_is_a_usage_error(
        self, verify: Callable[..., tuple[int, str]], tmp_path: Path
    ) -> None:
        code, text = verify(recorded.healthy().snapshot, key=tmp_path / "none.pub")
        assert (code, text) == (4, f"--key {tmp_path / 'none.pub'} cannot be read: No such file or directory\n")


def test_an_envelope_that_was_changed_never_reaches_the_cluster(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "signoff.json").write_text("{}")
    arguments = [str(tmp_path / "signoff.json"), "--key", str(pair[1]), "--kubeconfig", "none"]
    assert verify_signoff.main(arguments) == 1
    assert "not genuine" in capsys.readouterr().out


def test_a_wrong_command_line_is_exit_code_4() -> None:
    with pytest.raises(SystemExit) as caught:
        verify_signoff.main(["signoff.json"])
    assert caught.value.code == 4
