"""The canary homeserver on loopback, as the probe pod runs it; and what the probe makes of what it heard."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from signedjson.key import decode_verify_key_bytes
from signedjson.sign import verify_signed_json
from unpaddedbase64 import decode_base64

from postflight.cluster.outposts import zipapp
from postflight.deployment.canary import LABELS, preparation
from postflight.probes.canary import Identity, certificate
from postflight.probes.federation import _holds, contacted
from postflight.secrets import Secret
from postflight.settings import CanarySettings, SettingsError, load
from tests.unit.loopback import closed_port
from tests.unit.worlds import secrets, service, snapshot

NAMES = ("localhost:1", "localhost:2")


def authority() -> tuple[str, Secret]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=2))
        .not_valid_after(now + timedelta(hours=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return made.public_bytes(serialization.Encoding.PEM).decode(), Secret(private.decode())


def outpost(app: Path, deed: str, given: Any) -> Any:
    command = [sys.executable, "-I", "-S", str(app)]
    text = json.dumps([deed, given]) + "\n"
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=20, check=True)
    return json.loads(done.stdout)


def test_it_answers_with_its_keys_and_remembers_what_it_was_sent(tmp_path: Path) -> None:
    trusted, secret = authority()
    identities = [Identity.of(name, secret) for name in NAMES]
    shown, key = certificate("localhost", trusted, secret)
    port, control = closed_port(), closed_port()
    app = tmp_path / "outpost.pyz"
    app.write_bytes(zipapp())
    documents = {each.name: each.key_document() for each in identities}
    given = {"ports": [port], "keys": documents, "certificate": shown, "key": key, "control": control, "life": 8}
    assert outpost(app, "listen", given) == {"problem": ""}
    with httpx.Client(verify=ssl.create_default_context(cadata=trusted), trust_env=False) as client:
        base, host = f"https://localhost:{port}", {"Host": NAMES[1]}
        assert client.get(f"{base}/_matrix/key/v2/server", headers=host).json() == documents[NAMES[1]]
        assert client.get(f"{base}/_matrix/federation/v1/version", headers=host).status_code == 200
        assert client.get(f"{base}/_matrix/client/versions", headers=host).json()["errcode"] == "M_UNRECOGNIZED"
        sent = {"pdus": [{"content": {"body": "postflight abc"}}], "edus": []}
        answer = client.put(f"{base}/_matrix/federation/v1/send/17-1", headers=host, json=sent)
        assert answer.json() == {"pdus": {}}
        heard = outpost(app, "heard", {"control": control, "since": 0, "wait": 0})
        assert [each["path"].rpartition("/")[2] for each in heard] == ["server", "version", "versions", "17-1"]
        assert heard[-1] | {"name": NAMES[1], "transaction": "17-1", "pdus": sent["pdus"]} == heard[-1]
        assert outpost(app, "heard", {"control": control, "since": 3, "wait": 9}) == heard[3:]
        assert outpost(app, "heard", {"control": control, "since": 4, "wait": 0.1}) == []
        url = f"{base}/_matrix/federation/v1/send/17-2"
        later = threading.Timer(0.5, lambda: client.put(url, headers=host, json=sent))
        later.start()
        (came,) = outpost(app, "heard", {"control": control, "since": 4, "wait": 15})
        later.join()
        assert came["transaction"] == "17-2"


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    trusted, secret = authority()
    shown, key = certificate("localhost", trusted, secret)
    app = tmp_path / "outpost.pyz"
    app.write_bytes(zipapp())
    given = {"ports": [70000], "keys": {}, "certificate": shown, "key": key, "control": closed_port(), "life": 1}
    assert outpost(app, "listen", given)["problem"]


def test_a_name_has_the_same_key_in_every_run_and_signs_with_it() -> None:
    _, secret = authority()
    one, again, other = (Identity.of(name, secret) for name in ("a:1", "a:1", "b:1"))
    document = one.key_document()
    assert document["verify_keys"] == again.key_document()["verify_keys"]
    assert document["verify_keys"] != other.key_document()["verify_keys"]
    verify = decode_verify_key_bytes(one.key_id, decode_base64(document["verify_keys"][one.key_id]["key"]))
    verify_signed_json(document, "a:1", verify)


@pytest.mark.parametrize(
    ("record", "held"),
    [
        ({"pdus": [{"content": {"body": "postflight abc"}}]}, True),
        ({"pdus": [{"content": {"body": "postflight abcd"}}]}, False),
        ({"pdus": [{"content": {"membership": "join"}}], "edus": [{"edu_type": "m.typing", "content": "abc"}]}, False),
        ({"edus": [{"edu_type": "m.direct_to_device", "content": {"messages": {"u": {"*": {"nonce": "abc"}}}}}]}, True),
        ({"path": "/_matrix/key/v2/server"}, False),
    ],
)
def test_what_carries_a_nonce(record: dict[str, Any], held: bool) -> None:
    assert _holds(record, "abc") is held


def test_who_was_sent_something_is_not_held_back_whatever_it_was() -> None:
    keys, newest = {"name": "a", "path": "/_matrix/key/v2/server"}, {"name": "b", "transaction": "1-1", "pdus": []}
    assert contacted([keys, newest]) == {"b"}


def canary_service(name: str = "postflight-canary", selector: Any = LABELS) -> Any:
    made = service(name, 18448)
    made["spec"]["selector"] = dict(selector)
    made["spec"]["ports"].append({"name": "two", "port": 18449})
    return made


class TestPreparation:
    WORLD = snapshot(canary_service(), canary_service("astray", {"app": "other"}))
    HELD = secrets(postflight_canary_ca={"tls.crt": "c", "tls.key": "k"}, public={"tls.crt": "c", "tls.key": "k"})

    def test_the_names_follow_from_the_service(self) -> None:
        plan, why = preparation(self.WORLD, self.HELD, CanarySettings(), "matrix")
        assert plan, why
        assert plan.names == ("postflight-canary.matrix.svc:18448", "postflight-canary.matrix.svc:18449")
        assert (plan.ports, plan.public) == ((18448, 18449), False)

    def test_public_names_are_taken_as_they_are(self) -> None:
        settings = CanarySettings(hosts=("a.example:443",), tls_secret="public")
        plan, why = preparation(self.WORLD, self.HELD, settings, "matrix")
        assert plan, why
        assert (plan.names, plan.public) == (("a.example:443",), True)

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            (CanarySettings(service="other"), "there is no Service other"),
            (CanarySettings(ca_secret="other"), "no Secret other with tls.crt and tls.key"),
            (CanarySettings(service="astray"), f"not {LABELS}"),
        ],
    )
    def test_what_is_missing_is_named(self, settings: CanarySettings, said: str) -> None:
        plan, why = preparation(self.WORLD, self.HELD, settings, "matrix")
        assert plan is None
        assert said in why

    @pytest.mark.parametrize("text", ["canary: {hosts: [a.example]}", "canary: {hosts: ['a.example:443']}"])
    def test_public_names_have_a_port_and_a_certificate(self, text: str, tmp_path: Path) -> None:
        file = tmp_path / "settings.yaml"
        file.write_text(text)
        with pytest.raises(SettingsError, match="hosts"):
            load(file)
