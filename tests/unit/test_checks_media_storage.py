"""The check of the object store, given each kind of fault alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from postflight.deployment.media import is_media_worker
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Endpoint, Side, SynapseProcess
from postflight.deployment.storage import PROVIDERS
from postflight.deployment.store_parts import Keys
from postflight.probes.canary_user import Hindered
from postflight.probes.object_stores import Stored
from postflight.probes.probe import BarredBy, NotTried
from postflight.probes.stored_media import Fetched
from postflight.secrets import Secret
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import storing
from tests.unit.observations import MODEL as LAB
from tests.unit.observations import NOT_ALLOWED, READ_ONLY, ask, only

CHECK = "media.storage"
MODEL = storing.with_storage(LAB)
FIRST, SECOND = (each for each in MODEL.synapse if is_media_worker(each))
MAIN = next(each for each in MODEL.synapse if each.is_main and each.side is Side.MAIN)
WHERE = f"{storing.HOST}:9000"
BUCKET = f"bucket synapse-media at {WHERE}"
WORDS = ("Traceback", "ModuleNotFoundError: No module named 's3_storage_provider'")


def changed(change: Callable[[SynapseProcess], SynapseProcess], model: Deployment = MODEL) -> Deployment:
    return replace(model, synapse=tuple(map(change, model.synapse)))


def down(process: SynapseProcess) -> Deployment:
    assert process.pod
    pod = replace(process.pod, ready=False, containers=tuple(replace(e, ready=False) for e in process.pod.containers))
    return changed(lambda each: replace(each, pod=pod) if each.id == process.id else each)


def judged(model: Deployment = MODEL, said: Stored = storing.MISSING, **others: Any) -> Judge:
    given: dict[str, Any] = {
        "deployment": model,
        "object_stores": storing.answers(model, said),
        "provider_modules": storing.modules(model),
    }
    if "stored_media" not in others:
        given["stored_media"] = storing.trip(model)
    return ask(CHECK, **(given | others))


def refused(status: int, code: str = "") -> dict[str, Any]:
    said = f"{FIRST.name} answers POST /_matrix/media/v3/upload with {status} {code}".rstrip()
    return {"refused": said, "status": status, "key": "", "found": Stored(), "same": False, "fetched": ()}


class TestThePart:
    def test_a_file_that_comes_back_is_all_right(self) -> None:
        pen = judged()
        assert pen.failures == []
        assert {FIRST.id, SECOND.id, storing.ID} <= {*pen.seen}

    def test_without_a_provider_it_is_no_part(self) -> None:
        plain = changed(lambda each: replace(each, config={**(each.config or {}), PROVIDERS: []}))
        pen = judged(plain, object_stores=(), stored_media=Hindered("nobody", ""))
        assert (pen.failures, pen.seen) == ([], [])
        assert pen.absence == f"no {PROVIDERS} of any process with media names an object store"

    def test_a_process_that_holds_no_media_needs_no_package(self) -> None:
        """As main in the lab: it reads the same file, and never loads the provider (finding 1.4, which was none)."""
        everywhere = storing.with_storage(LAB, lambda each: True)
        assert list(everywhere.stores[0].users) == [FIRST.id, SECOND.id]
        assert judged(everywhere).failures == []

    @pytest.mark.parametrize("process", [MAIN, FIRST])
    def test_one_whose_configuration_is_not_known(self, process: SynapseProcess) -> None:
        blind = changed(lambda each: replace(each, config=None, config_problem="no") if each.id == process.id else each)
        found = only(judged(blind), Status.UNKNOWN)
        assert found.headline == f"where {process.workload_name} keeps media is not known: no"

    def test_nobody_whose_configuration_is_known_has_one(self) -> None:
        blind = changed(lambda each: replace(each, config=None, config_problem="no") if is_media_worker(each) else each)
        pen = judged(blind, object_stores=(), stored_media=Hindered("nobody", ""))
        assert {each.status for each in pen.failures} == {Status.UNKNOWN}
        assert not pen.absence

    def test_any_other_may_be_unread(self) -> None:
        writer = next(each for each in MODEL.synapse if each.workload_name == "synapse-presence-writer")
        blind = changed(lambda each: replace(each, config=None) if each.id == writer.id else each)
        assert judged(blind).failures == []


class TestThePackage:
    def test_one_process_crashes_without_it(self) -> None:
        model = down(SECOND)
        found = only(judged(model, last_words={SECOND.id: WORDS}))
        assert found.headline == (
            f"{SECOND.name} cannot start: {PROVIDERS} names s3_storage_provider,"
            " and its image has no Python module s3_storage_provider"
        )
        assert (found.nature, found.stops) == (Nature.WRONG, (SECOND.id,))
        assert found.observed == WORDS[-1]

    def test_what_the_provider_needs_may_be_missing(self) -> None:
        words = ("ModuleNotFoundError: No module named 'botocore.config'",)
        assert only(judged(down(SECOND), last_words={SECOND.id: words})).headline.endswith("botocore.config")

    def test_its_settings_may_be_refused(self) -> None:
        words = ("  Failed to parse config for module 's3_storage_provider.S3StorageProviderBackend':", "    'bucket'")
        found = only(judged(down(SECOND), last_words={SECOND.id: words}))
        assert found.headline == (
            f"{SECOND.name} cannot start: s3_storage_provider refuses its part of {PROVIDERS}: 'bucket'"
        )

    @pytest.mark.parametrize("words", [(), ("ModuleNotFoundError: No module named 'psycopg2'",)])
    def test_one_that_is_down_for_another_reason(self, words: tuple[str, ...]) -> None:
        found = only(judged(down(SECOND), last_words={SECOND.id: words}))
        assert (found.nature, found.subject) == (Nature.UNAVAILABLE, SECOND.id)

    def test_one_that_runs_and_would_not_start_again(self) -> None:
        seen = {**storing.modules(MODEL), **storing.modules(replace(MODEL, synapse=(SECOND,)), ("boto3",))}
        found = only(judged(provider_modules=seen), Status.WARNED)
        assert found.headline == f"{SECOND.name} would not start again: its Python does not find boto3"

    def test_no_right_to_look(self) -> None:
        assert judged(provider_modules=NOT_ALLOWED).failures == []


class TestTheStore:
    def test_no_bucket(self) -> None:
        trip = storing.trip(MODEL, **refused(500, "M_UNKNOWN"))
        found = only(judged(said=Stored(404, "NoSuchBucket"), stored_media=trip))
        both = f"{FIRST.name} and {SECOND.name}"
        assert found.headline == f"{both} cannot store media: {WHERE} has no bucket synapse-media"
        assert found.observed == f"{WHERE} answers 404 NoSuchBucket; {trip.refused}"

    @pytest.mark.parametrize(
        ("root", "cause"),
        [
            ({"secret": Secret("another")}, "Secret synapse-secrets/S3_SECRET_KEY differs from Secret minio/key"),
            ({"access": "b"}, "the key pair from Secret synapse-secrets/S3_SECRET_KEY is another than the one of"),
            ({}, "it was started before Secret minio/key was changed"),
        ],
    )
    def test_keys_that_are_not_taken(self, root: dict[str, Any], cause: str) -> None:
        own = replace(Keys(storing.ACCESS, Secret(storing.SECRET), None, "Secret minio/key"), **root)
        model = storing.with_storage(LAB, root=own)
        found = only(judged(model, Stored(403, "SignatureDoesNotMatch")))
        both = f"{FIRST.name} and {SECOND.name}"
        assert found.headline == (
            f"{both} cannot store media: {WHERE} does not take their key pair (SignatureDoesNotMatch)"
        )
        assert found.cause.startswith(cause)

    def test_keys_of_a_store_whose_own_are_not_known(self) -> None:
        found = only(judged(storing.with_storage(LAB, root=None), Stored(403, "InvalidAccessKeyId")))
        assert found.cause.endswith("is not, or no longer, one of the object store's")
        assert storing.SECRET not in repr(found)

    def test_one_that_does_not_answer(self) -> None:
        found = only(
            judged(said=Stored(problem="Service minio has no ready pod behind it"), stored_media=Hindered("", ""))
        )
        assert (found.nature, found.subject) == (Nature.UNAVAILABLE, storing.ID)
        assert found.headline == f"the object store {WHERE} does not answer: Service minio has no ready pod behind it"

    def test_one_that_fails(self) -> None:
        assert only(judged(said=Stored(503, "SlowDown"))).nature is Nature.UNAVAILABLE

    @pytest.mark.parametrize(
        ("rest", "remedy"),
        [
            ({"keys": Keys(hidden="no keys")}, "let Synapse have its key pair"),
            (
                {"endpoint": Endpoint("s3.example.org", 443, "", "", (), external=True)},
                "storage.hosts: [s3.example.org]",
            ),
            ({"endpoint": Endpoint("m.store.svc", 9000, "store", "m", (), external=True)}, "--namespace ...,store"),
        ],
    )
    def test_one_that_nobody_may_ask(self, rest: dict[str, Any], remedy: str) -> None:
        model = storing.with_storage(LAB, **rest)
        found = only(judged(model, Stored(problem="why", unasked=True), stored_media=Hindered("", "")), Status.UNKNOWN)
        assert found.headline.endswith("could not be asked: why")
        assert remedy in found.remedy

    def test_processes_that_use_two(self) -> None:
        one, other = storing.store(FIRST), storing.store(SECOND, bucket="elsewhere", id="bucket/matrix/elsewhere")
        found = only(judged(replace(MODEL, stores=(one, other))))
        assert found.headline == (
            f"media processes do not agree where media go: {FIRST.name} to {BUCKET},"
            f" {SECOND.name} to bucket elsewhere at {WHERE}"
        )


class TestTheFile:
    def test_it_stays_on_the_volume_of_who_took_it(self) -> None:
        model = storing.with_storage(LAB, local=False)
        found = only(judged(model, stored_media=storing.trip(model, found=storing.MISSING, same=False, fetched=())))
        assert found.headline == (
            f"what is uploaded through {FIRST.name} stays on its own volume: store_local is false, {BUCKET} does not get it"
        )
        assert found.cause.startswith("store_local of s3_storage_provider is false, or not set")

    def test_the_provider_fails_behind_the_answer(self) -> None:
        model = storing.with_storage(LAB, synchronous=False)
        found = only(judged(model, stored_media=storing.trip(model, found=storing.MISSING, same=False, fetched=())))
        assert "store_synchronous is off" in found.cause
        assert "store_local" not in found.headline

    def test_it_is_not_what_was_uploaded(self) -> None:
        found = only(judged(stored_media=storing.trip(MODEL, same=False)))
        assert (found.subject, found.nature) == (storing.ID, Nature.WRONG)

    def test_the_bucket_fell_silent(self) -> None:
        trip = storing.trip(MODEL, found=Stored(problem="no answer in time"), same=False, fetched=())
        assert only(judged(stored_media=trip), Status.UNKNOWN).subject == storing.ID

    @pytest.mark.parametrize("status", [500, 0])
    def test_the_upload_fails(self, status: int) -> None:
        found = only(judged(stored_media=storing.trip(MODEL, **refused(status))))
        assert (found.nature, found.needs) == (Nature.UNAVAILABLE, (FIRST.id, storing.ID))

    @pytest.mark.parametrize("status", [413, 429, 403])
    def test_the_upload_is_not_wanted(self, status: int) -> None:
        assert only(judged(stored_media=storing.trip(MODEL, **refused(status))), Status.UNKNOWN).subject == FIRST.id

    @pytest.mark.parametrize(
        ("status", "nature"), [(404, Nature.WRONG), (502, Nature.UNAVAILABLE), (0, Nature.UNAVAILABLE)]
    )
    def test_another_does_not_give_it_back(self, status: int, nature: Nature) -> None:
        fetched = (Fetched(FIRST, True, True), Fetched(SECOND, False, True, "it says no", status))
        found = only(judged(stored_media=storing.trip(MODEL, fetched=fetched)))
        answer = status or "it says no"
        assert found.headline == f"{SECOND.name} does not give back what {FIRST.name} took: {answer}"
        assert (found.nature, found.observed) == (nature, "it says no")

    def test_another_gives_something_else(self) -> None:
        fetched = (Fetched(SECOND, False, True),)
        found = only(judged(stored_media=storing.trip(MODEL, fetched=fetched)))
        assert found.headline.endswith("other bytes")

    def test_another_has_no_provider(self) -> None:
        model = changed(lambda each: replace(each, config={}) if each.id == SECOND.id else each)
        there = next(each for each in model.synapse if each.id == SECOND.id)
        fetched = (Fetched(there, False, True, "404", 404),)
        found = only(judged(model, stored_media=storing.trip(model, fetched=fetched)))
        assert found.cause == f"no {PROVIDERS} in the configuration of {SECOND.name}"

    def test_another_runs_without_the_module(self) -> None:
        seen = {
            **storing.modules(MODEL),
            **storing.modules(replace(MODEL, synapse=(SECOND,)), ("s3_storage_provider",)),
        }
        trip = storing.trip(MODEL, fetched=(Fetched(SECOND, False, True, "404", 404),))
        red = [
            each for each in judged(stored_media=trip, provider_modules=seen).failures if each.nature is Nature.WRONG
        ]
        assert red[0].cause == f"{SECOND.name} has no Python module s3_storage_provider: it runs without the provider"

    def test_everybody_may_have_it_by_itself(self) -> None:
        trip = storing.trip(MODEL, kept="no right", fetched=(Fetched(SECOND, True, False),))
        found = only(judged(stored_media=trip), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.endswith("(no right)")

    def test_nobody_else_is_there(self) -> None:
        found = only(judged(stored_media=storing.trip(MODEL, fetched=())), Status.WARNED)
        assert found.headline.endswith("(nobody else was there to ask)")

    def test_the_object_stays(self) -> None:
        found = only(judged(stored_media=storing.trip(MODEL, left="403 AccessDenied")), Status.WARNED)
        assert found.headline == (
            "object local_content/ab/cd/efgh stays in bucket synapse-media: Synapse's key pair may not remove it"
            " (403 AccessDenied)"
        )


class TestNotTried:
    def test_by_the_safety_level(self) -> None:
        found = only(judged(stored_media=READ_ONLY), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.endswith("was not seen: needs --safety canary")

    def test_for_want_of_a_right(self) -> None:
        assert only(judged(stored_media=NotTried("no right", BarredBy.RIGHT)), Status.UNKNOWN)

    def test_what_the_store_says_is_judged_all_the_same(self) -> None:
        pen = judged(said=Stored(404, "NoSuchBucket"), stored_media=READ_ONLY)
        assert [each.nature for each in pen.failures] == [Nature.WRONG, Nature.UNPROVEN]

    def test_the_probe_user_could_not_be_had(self) -> None:
        found = only(judged(stored_media=Hindered("main is down", MAIN.id)), Status.UNKNOWN)
        assert found.subject == MAIN.id
