"""What opens LI's front door: read before anything is touched, and never said aloud."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from postflight.cluster.secrets import SecretStore
from postflight.credential import NONE, Credential, of_secret, read
from postflight.probes import li_credential
from postflight.secrets import Redactor, Secret
from postflight.settings import LiCredentialSettings, LiSettings, Settings, SettingsError
from tests.unit import li_world
from tests.unit.tls_world import Issuer
from tests.unit.worlds import deployment, secrets, snapshot

PASSWORD = "correct-horse-battery"
MODEL = li_world.model()


class TestFromTheSettings:
    def test_nothing_by_default(self) -> None:
        assert read(LiCredentialSettings(), {}) == NONE
        assert not NONE.given
        assert NONE.basic == ""

    def test_a_user_with_a_password(self) -> None:
        found = read(LiCredentialSettings(user="officer", password_env="LI"), {"LI": f"{PASSWORD}\n"})
        assert found.basic == "Basic b2ZmaWNlcjpjb3JyZWN0LWhvcnNlLWJhdHRlcnk="
        assert PASSWORD not in repr(found)

    def test_a_certificate_is_shown_in_handshakes(self, tmp_path: Path) -> None:
        file = Issuer().write(tmp_path, "officer")
        found = read(LiCredentialSettings(certificate_file=str(file)), {})
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        found.load(context)
        assert (found.given, found.origin) == (True, "the settings")
        assert "PRIVATE" not in repr(found)

    def test_a_certificate_without_its_key(self, tmp_path: Path) -> None:
        file = tmp_path / "client.pem"
        file.write_text(Issuer().pem)
        with pytest.raises(SettingsError, match="no certificate with its key"):
            read(LiCredentialSettings(certificate_file=str(file)), {})

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"li\.credential: certificate_file: .*No such file"):
            read(LiCredentialSettings(certificate_file=str(tmp_path / "none")), {})

    def test_a_variable_that_is_not_there(self) -> None:
        with pytest.raises(SettingsError, match=r"li\.credential: password_env: the environment has no LI"):
            read(LiCredentialSettings(user="officer", password_env="LI"), {})

    @pytest.mark.parametrize(
        "given", [{"user": "a"}, {"password_env": "A"}, {"user": "a", "password_env": "A", "password_file": "b"}]
    )
    def test_half_a_credential_is_refused(self, given: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"password|not both"):
            LiCredentialSettings(**given)


class TestFromASecret:
    def credential(self, monkeypatch: pytest.MonkeyPatch, store: SecretStore, **settings: Any) -> Credential:
        monkeypatch.setattr(li_credential, "read_secrets", lambda api, names, register: store)
        own = Settings(li=LiSettings(LiCredentialSettings(**settings)))
        none: Any = None
        return li_credential.li_credential(MODEL, own, none, Redactor(), read(own.li.credential, {"P": PASSWORD}))

    def test_a_certificate(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        certificate, key = Issuer().write(tmp_path, "x").read_text().split("-----BEGIN PRIVATE", 1)
        store = secrets(postflight_li={"tls.crt": certificate, "tls.key": f"-----BEGIN PRIVATE{key}"})
        found = self.credential(monkeypatch, store)
        assert (found.given, found.origin, found.basic) == (True, "Secret postflight-li", "")

    def test_a_name_and_a_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.credential(monkeypatch, secrets(postflight_li={"username": "o", "password": PASSWORD}))
        assert found.basic.startswith("Basic ")

    def test_one_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.credential(monkeypatch, secrets()) == NONE

    @pytest.mark.parametrize(
        ("store", "why"),
        [
            (secrets({"postflight-li": "no right: get secrets"}), "no right: get secrets"),
            (secrets(postflight_li={"x": "y"}), "holds neither tls.crt and tls.key, nor username and password"),
            (secrets(postflight_li={"tls.crt": "x", "tls.key": "y"}), "holds no certificate with its key (PEM)"),
        ],
    )
    def test_one_that_cannot_be_used(self, monkeypatch: pytest.MonkeyPatch, store: SecretStore, why: str) -> None:
        found = self.credential(monkeypatch, store)
        assert not found.given
        assert found.problem.endswith(why)

    def test_what_the_settings_give_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.credential(monkeypatch, secrets(postflight_li={"x": "y"}), user="o", password_env="P")
        assert found.origin == "the settings"

    def test_without_lawful_intercept_nothing_is_read(self) -> None:
        none: Any = None
        assert li_credential.li_credential(deployment(snapshot()), Settings(), none, Redactor(), NONE) == NONE


def test_what_it_holds_is_hidden() -> None:
    redactor = Redactor()
    found = of_secret("s", {"username": Secret("officer"), "password": Secret(PASSWORD)})
    found.register(redactor)
    assert PASSWORD not in redactor.redact(f"{PASSWORD} {found.basic}")
    assert found.basic.removeprefix("Basic ") not in redactor.redact(found.basic)
