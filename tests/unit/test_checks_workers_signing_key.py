"""The check of the one signing key, and what a process is heard to publish, given each kind of fault alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from signedjson.key import decode_signing_key_base64, encode_verify_key_base64, get_verify_key
from signedjson.sign import sign_json

from postflight.cluster.access import Access, Way
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.probes.identity import PATH, VERSION, WorkerIdentity, worker_identities
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded
from tests.unit.loopback import Refused, Reply, Request, answering, api_to, closed_port
from tests.unit.observations import MODEL, ask, only
from tests.unit.processes import KEYS
from tests.unit.processes import worker_identities as healthy
from tests.unit.recorded import Json

CHECK = "workers.signing_key"
SEEN = healthy(MODEL)
MAIN = next(each for each in MODEL.synapse if each.is_main)
OTHER = {"ed25519:a_other": "o1aI60wLUKETuLfLZJKBUFAKkNeRib86Ag8gcy/v9Gs"}
SIGNING = decode_signing_key_base64("ed25519", "a_lab", "/QxXv/1xOfL72nWOOC+eeFn61PzGbyudEbc5bjkhVOs")


def heard(number: int = 0, **fields: Any) -> Judge:
    """With the first ``number`` workers, or with main (0), heard otherwise."""
    workers = [each.process.id for each in SEEN if each.listens and not each.process.is_main][:number] or [MAIN.id]
    return ask(
        CHECK, worker_identities=tuple(replace(each, **fields) if each.process.id in workers else each for each in SEEN)
    )


class TestPublished:
    def test_another_by_the_workers(self) -> None:
        origin = "Secret workers/signing.key, as /secrets/signing.key"
        found = only(heard(2, keys=OTHER, signed=tuple(OTHER), origin=origin))
        first, second = sorted(each.process.name for each in SEEN if each.listens and not each.process.is_main)
        assert found.headline == (
            f"{first} and {second} sign with ed25519:a_other, synapse-main-0 publishes ed25519:a_lab"
        )
        assert "has its key from Secret workers/signing.key" in found.cause
        assert KEYS["ed25519:a_lab"] in found.observed
        assert found.stops == ()

    def test_another_by_one_under_the_same_name(self) -> None:
        found = only(heard(1, keys={"ed25519:a_lab": "other"}, signed=("ed25519:a_lab",)))
        assert f"signs with ed25519:a_lab other, synapse-main-0 publishes ed25519:a_lab {KEYS['ed25519:a_lab']}" in (
            found.headline
        )
        assert "one of them was started before it was changed" in found.cause

    def test_it_does_not_sign_with_it(self) -> None:
        found = only(heard(1, signed=()))
        assert found.headline.endswith("publishes ed25519:a_lab and does not sign with it")

    def test_no_federation_behind_it(self) -> None:
        assert only(heard(1, version=404), Status.WARNED).headline.endswith(f"answers {VERSION} with 404")

    def test_keys_alone_are_enough(self) -> None:
        assert heard(1, version=0).failures == []


class TestNotHeard:
    def test_one_that_is_ready(self) -> None:
        found = only(heard(1, keys={}, problem="timed out"), Status.UNKNOWN)
        assert found.headline.endswith("could not be asked for its signing key: timed out")

    def test_one_that_is_down(self) -> None:
        assert MAIN.pod
        down = replace(MAIN, pod=replace(MAIN.pod, ready=False))
        found = only(heard(process=down, keys={}, problem="it does not run"))
        assert (found.nature, found.subject) == (Nature.UNAVAILABLE, MAIN.id)

    def test_one_whose_configuration_is_not_known(self) -> None:
        blind = replace(
            MODEL, synapse=(*MODEL.synapse[1:], replace(MODEL.synapse[0], config=None, config_problem="empty"))
        )
        seen = tuple(each for each in SEEN if each.process.id != MODEL.synapse[0].id)
        found = only(ask(CHECK, deployment=blind, worker_identities=seen), Status.UNKNOWN)
        assert found.headline.endswith("publishes a signing key is not known: empty")

    def test_nobody_has_a_listener_for_it(self) -> None:
        pen = ask(CHECK, worker_identities=())
        assert (pen.failures, pen.seen) == ([], [])
        assert pen.absence

    def test_lis_is_lis_identity_to_say(self) -> None:
        li = replace(MAIN, side=Side.LI, id="pod/matrix/second")
        seen = (*SEEN, WorkerIdentity(li, OTHER, tuple(OTHER), 200))
        assert ask(CHECK, worker_identities=seen).failures == []


class TestBySpec:
    """Of processes that publish nothing."""

    def given(self, *names: str) -> Judge:
        """Some workloads have another key by their configuration."""
        return ask(
            CHECK,
            worker_identities=tuple(
                replace(each, configured=OTHER, origin="Secret others/signing.key")
                if each.process.workload_name in names
                else each
                for each in SEEN
            ),
        )

    def test_the_senders_are_given_another(self) -> None:
        found = only(self.given("synapse-federation-sender"))
        assert found.headline == (
            "synapse-federation-sender-0 and synapse-federation-sender-1 are given ed25519:a_other to sign with,"
            " synapse-main-0 ed25519:a_lab"
        )
        assert found.cause.startswith("synapse-federation-sender-0 has its key from Secret others/signing.key")

    def test_the_secret_was_changed_since_all_of_them_started(self) -> None:
        found = only(self.given(*{each.process.workload_name for each in SEEN}), Status.WARNED)
        assert found.headline == "synapse-main-0 publishes ed25519:a_lab, and ed25519:a_other after its next start"

    def test_what_their_configuration_does_not_tell_is_not_judged(self) -> None:
        seen = tuple(each if each.listens else replace(each, configured=None) for each in SEEN)
        assert ask(CHECK, worker_identities=seen).failures == []


class TestProbe:
    @contextmanager
    def answers(self, document: Any, version: int = 200) -> Iterator[int]:
        def answer(asked: Request) -> Reply:
            if asked.path == PATH and document is not None:
                return 200, document
            if asked.path == VERSION and version == 200:
                return 200, {"server": {"name": "Synapse"}}
            raise Refused(404, "no such thing")

        with answering(answer) as (port, _):
            yield port

    def ask(self, port: int, resource: str = "federation", **pod: Any) -> WorkerIdentity:
        lab = recorded.healthy()
        (found,) = worker_identities(self.model(port, resource, **pod), self.access(), lab.snapshot, lab.secrets)
        return found

    def access(self) -> Access:
        return Access(api_to(closed_port()), Way.DIRECT)

    def model(self, port: int, resource: str, **pod: Any) -> Deployment:
        assert MAIN.pod
        listeners = [{"port": port, "resources": [{"names": [resource]}]}]
        here: SynapseProcess = replace(
            MAIN,
            pod=replace(MAIN.pod, **({"ip": "127.0.0.1"} | pod)),
            config={**(MAIN.config or {}), "listeners": listeners},
        )
        return replace(MODEL, synapse=(here,))

    def document(self) -> Json:
        verify = {"ed25519:a_lab": {"key": encode_verify_key_base64(get_verify_key(SIGNING))}}
        found: Json = {"server_name": "matrix.lab.test", "verify_keys": verify}
        return found

    def test_hears_the_key_its_signature_and_federation(self) -> None:
        with self.answers(sign_json(self.document(), "matrix.lab.test", SIGNING)) as port:
            found = self.ask(port)
        assert (found.keys, found.signed, found.version, found.problem) == (KEYS, ("ed25519:a_lab",), 200, "")
        assert found.origin == "Secret synapse-secrets/signing.key, as /secrets/signing.key"

    def test_asks_no_federation_of_a_listener_for_keys(self) -> None:
        with self.answers(sign_json(self.document(), "matrix.lab.test", SIGNING), 404) as port:
            assert self.ask(port, "keys").version == 0

    @pytest.mark.parametrize("signature", ["none", "wrong"])
    def test_sees_that_it_is_not_signed(self, signature: str) -> None:
        document = self.document()
        if signature == "wrong":
            document = sign_json(document, "matrix.lab.test", SIGNING) | {"valid_until_ts": 1}
        with self.answers(document) as port:
            assert self.ask(port).signed == ()

    def test_quotes_a_refusal(self) -> None:
        with self.answers(None) as port:
            assert self.ask(port).problem == f"{PATH} was answered with 404"

    def test_says_that_nobody_answers(self) -> None:
        assert "refused" in self.ask(closed_port()).problem

    def test_asks_none_that_does_not_run(self) -> None:
        assert self.ask(1, containers=()).problem == "it does not run"

    def test_asks_none_without_a_listener(self) -> None:
        lab = recorded.healthy()
        (found,) = worker_identities(self.model(1, "client"), self.access(), lab.snapshot, lab.secrets)
        assert (found.listens, found.keys, found.configured, found.problem) == (False, {}, KEYS, "")
