"""What is signed, what is refused, and that a changed byte is seen."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from postflight.cluster.kinds import DEPLOYMENT, POD
from postflight.signoff import refusal, statement
from postflight.signoff.envelope import Broken, opened, seal
from postflight.signoff.keys import VARIABLE, KeyProblem, public_key, signer
from postflight.signoff.signing import Request, files
from postflight.signoff.standing import differences, standing
from postflight.verdict.judge import Judge
from postflight.verdict.record import RunRecord
from postflight.verdict.waivers import Waivers
from tests.unit import recorded, worlds
from tests.unit.records import absent, green, login, record, said, unknown, waived, warned
from tests.unit.records import full as everything

Json = dict[str, Any]
KEYS: dict[str, Callable[[], Any]] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
}


def pem(key: Any, password: bytes | None = None) -> bytes:
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    made: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    return made


def public_pem(key: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    made: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    return made


@pytest.fixture(params=KEYS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """The files of a private key and its public one."""
    key = KEYS[request.param]()
    (tmp_path / "key.pem").write_bytes(pem(key))
    (tmp_path / "key.pub").write_bytes(public_pem(key))
    return tmp_path / "key.pem", tmp_path / "key.pub"


def unproven() -> Judge:
    judge = green("x")
    judge.unproven("redis", "whether a write reaches the replicas was not seen")
    return judge


class TestRefusals:
    def reasons(self, made: RunRecord) -> tuple[str, ...]:
        return refusal.refusals(made, recorded.healthy().snapshot)

    def test_a_green_run_with_limits_waivers_and_absences_is_signed(self) -> None:
        made = record(said("a.b", green("x")), said("a.c", warned()), said("a.d", absent("no LI")))
        assert self.reasons(made) == ()

    @pytest.mark.parametrize(
        ("made", "reason"),
        [
            (record(said("a.b", green("x")), said("a.c", login())), "failed: a.c"),
            (record(said("a.b", green("x")), said("a.c", unknown())), "unknown: a.c"),
            (
                record(said("a.b", green("x")), said("a.c", unproven())),
                "a.c was seen by a weaker way: whether a write reaches the replicas was not seen",
            ),
            (record(said("a.b", green("x")), partial="-k"), "partial run (-k)"),
            (record(said("a.b", green("x")), trouble=("a waiver is stale",), exit_code=1), "a waiver is stale"),
            (record(said("a.b", green("x")), exit_code=1), "the run ended with exit 1"),
        ],
    )
    def test_whatever_is_not_wholly_green_is_refused(self, made: RunRecord, reason: str) -> None:
        assert reason in self.reasons(made)

    def test_blocked_checks_are_named(self) -> None:
        assert "blocked: clients.journey, media.storage" in self.reasons(everything())

    def test_a_kind_that_could_not_be_listed_is_a_reason(self) -> None:
        snapshot = worlds.snapshot()
        blind = type(snapshot)(
            snapshot.namespaces,
            snapshot.taken,
            snapshot.objects,
            {(DEPLOYMENT, "matrix"): "no right: list deployments"},
        )
        assert refusal.refusals(record(said("a.b", green("x"))), blind) == (
            "the configuration was not wholly seen: no right: list deployments",
        )
        assert refusal.refusals(record(said("a.b", green("x"))), None) == ("the cluster was not seen",)

    def test_an_image_without_a_digest_is_a_reason(self) -> None:
        pod = worlds.pod("one", worlds.container())
        pod["status"]["containerStatuses"][0]["imageID"] = "thing:1"
        (reason,) = refusal.refusals(record(said("a.b", green("x"))), worlds.snapshot(pod))
        assert reason == f"{POD.name.lower()}/matrix/one container main: its image id holds no digest (thing:1)"

    def test_a_refusal_is_never_exit_0_and_leaves_another_code_as_it_is(self) -> None:
        unproved = record(said("a.b", unproven()))
        assert unproved.exit_code == 0
        told = refusal.refused(unproved, "1.2", ("because",))
        assert (told.exit_code, told.trouble) == (1, ("sign-off of 1.2 refused: because",))
        unseen = record(said("a.b", green("x")), said("a.c", unknown()))
        told = refusal.refused(unseen, "1.2", ("because",))
        assert (told.exit_code, told.trouble, told.notes) == (6, (), ("sign-off of 1.2 refused: because",))


def signed(key: Path, made: RunRecord | None = None) -> tuple[str, str]:
    """The envelope and the page."""
    request = Request("2026.11", "alice@desk", signer(key, {}), {"settings.yaml": "0" * 64})
    made = made or record(said("a.b", green("x")), said("a.c", warned()), said("a.d", absent("no LI")))
    return tuple(files(made, recorded.healthy().snapshot, request).values())  # type: ignore[return-value]  # two


class TestEnvelope:
    def test_it_holds_an_in_toto_statement(self, pair: tuple[Path, Path]) -> None:
        text, _ = signed(pair[0])
        envelope = json.loads(text)
        assert envelope["payloadType"] == "application/vnd.in-toto+json"
        held = json.loads(base64.b64decode(envelope["payload"]))
        assert held["_type"] == "https://in-toto.io/Statement/v1"
        assert held["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
        assert held["predicate"]["result"] == "WARNED"
        assert held["predicate"]["passedTests"] == ["a.b"]
        assert held["predicate"]["warnedTests"] == ["a.c"]
        assert held["predicate"]["failedTests"] == []
        assert held["predicate"]["postflight"]["absent"] == [{"test": "a.d", "why": "no LI"}]
        assert all(subject["digest"] for subject in held["subject"])
        assert len({(each["name"], json.dumps(each["digest"])) for each in held["subject"]}) == len(held["subject"])

    def test_it_reads_back_as_what_stood_there(self, pair: tuple[Path, Path]) -> None:
        text, _ = signed(pair[0])
        said_ = statement.read(opened(text, public_key(pair[1])))
        stands = standing(recorded.healthy().snapshot)
        assert (said_.release, said_.by, said_.cluster) == ("2026.11", "alice@desk", "lab")
        assert (said_.standing.objects, said_.standing.images) == (stands.objects, stands.images)
        assert differences(said_.standing, stands) == ()

    def test_any_changed_byte_is_refused(self, pair: tuple[Path, Path]) -> None:
        text, _ = signed(pair[0])
        key = public_key(pair[1])
        data = text.encode()
        # Every byte outside the payload, and some within: it is one base64 text under one signature.
        end = data.index(b'"payloadType"')
        places = [*range(60), *range(60, end - 60, 997), *range(end - 60, len(data))]
        for place in places:
            for flip in (1, 2, 32):
                changed = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
                with pytest.raises(Broken):
                    opened(changed.decode("utf-8", "replace"), key)

    @pytest.mark.parametrize("more", [" ", "\n", "{}"])
    def test_nothing_may_stand_around_it(self, pair: tuple[Path, Path], more: str) -> None:
        text, _ = signed(pair[0])
        with pytest.raises(Broken):
            opened(text + more, public_key(pair[1]))

    def test_another_key_is_named(self, pair: tuple[Path, Path], tmp_path: Path) -> None:
        other = tmp_path / "other.pub"
        other.write_bytes(public_pem(KEYS["ed25519"]()))
        with pytest.raises(Broken, match=r"it was signed by key [0-9a-f]{64}, not by the given one"):
            opened(signed(pair[0])[0], public_key(other))

    def test_a_statement_of_something_else_is_no_sign_off(self, pair: tuple[Path, Path]) -> None:
        text = seal({"_type": "x", "predicateType": "y"}, signer(pair[0], {}))
        with pytest.raises(statement.NoSignOff, match="it is a y"):
            statement.read(opened(text, public_key(pair[1])))

    def test_hashes_that_do_not_fit_each_other_are_no_sign_off(self, pair: tuple[Path, Path]) -> None:
        held = json.loads(base64.b64decode(json.loads(signed(pair[0])[0])["payload"]))
        held["subject"][1]["digest"]["sha256"] = "0" * 64
        with pytest.raises(statement.NoSignOff, match="do not make the hash"):
            statement.read(held)


class TestKeys:
    def test_the_environment_serves_where_no_file_is_named(self, pair: tuple[Path, Path]) -> None:
        by_file = signer(pair[0], {VARIABLE: "not looked at"})
        assert signer(None, {VARIABLE: pair[0].read_text()}).public_key == by_file.public_key

    def test_none_is_made(self) -> None:
        with pytest.raises(KeyProblem, match="no key: --signoff-key FILE, or a PEM in POSTFLIGHT_SIGNOFF_KEY"):
            signer(None, {})

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (None, "cannot be read: No such file or directory"),
            (b"hunter2", "is no private key in PEM"),
            (pem(ed25519.Ed25519PrivateKey.generate(), b"secret"), "is encrypted: give the key without a passphrase"),
            (pem(rsa.generate_private_key(65537, 2048)), r"is a key of another kind \(RSA\)"),
            (pem(ec.generate_private_key(ec.SECP384R1())), r"is a key of another kind \(secp384r1\)"),
            (public_pem(ed25519.Ed25519PrivateKey.generate()), "is no private key in PEM"),
        ],
    )
    def test_one_that_cannot_be_used_is_refused_in_a_line(
        self, tmp_path: Path, content: bytes | None, problem: str
    ) -> None:
        file = tmp_path / "key.pem"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(KeyProblem, match=problem) as caught:
            signer(file, {})
        assert "hunter2" not in str(caught.value)

    def test_a_private_key_is_not_taken_for_a_public_one(self, pair: tuple[Path, Path]) -> None:
        with pytest.raises(KeyProblem, match="is a private key: give the public one"):
            public_key(pair[0])


class TestDocument:
    def test_it_says_what_was_signed_and_what_was_not_seen(self, pair: tuple[Path, Path]) -> None:
        waiver = Waivers((everything().results[5].waivers[0],), ())
        made = record(
            said("a.b", green("x")),
            said("a.c", warned()),
            said("availability.front_door", waived()),
            said("a.d", absent("out of reach: <no right>")),
            waivers=waiver,
        )
        _, page = signed(pair[0], made)
        for text in (
            "Sign-off of 2026.11",
            "alice@desk",
            "a single main process: every restart is an outage",
            "waived until 2099-07-31 by alice (OPS-7): second node in July",
            "out of reach: &lt;no right&gt;",
            standing(recorded.healthy().snapshot).configuration,
            "redis:7.2-alpine",
            str(public_key(pair[1]).keyid),
            "1 waived, 1 warned, 1 passed, 1 absent",
        ):
            assert text in page
        assert "<no right>" not in page
