"""The check of the content scanner, given each kind of fault alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from postflight.cluster.kinds import SERVICE
from postflight.deployment.parts import Endpoint
from postflight.deployment.scan_parts import Antivirus
from postflight.probes.canary_user import Hindered
from postflight.probes.leads import Lead
from postflight.probes.probe import BarredBy, NotTried
from postflight.probes.scanned_media import DOWNLOAD
from postflight.probes.scanner_asks import Heard, Question, Reply
from postflight.settings import Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import recorded, scanning
from tests.unit.calling import ready
from tests.unit.observations import MODEL as LAB
from tests.unit.observations import READ_ONLY, ask, only
from tests.unit.scanning import CLAMD, DIRTY, PODS, SCANNER, passed, past, refused, right, said, trip, ways

CHECK = "media.antivirus"
MODEL = scanning.with_antivirus(LAB)
PROXY = scanning.proxy_of(MODEL)
MEDIA = Endpoint("synapse-media-repository", 8008, "matrix", "synapse-media-repository", ())
Answer = Callable[[Question], Reply]


def judged(answer: Answer = right, **others: Any) -> Judge:
    """``answer`` is what every scanner says, wherever it is asked."""
    given: dict[str, Any] = {"deployment": MODEL, "scanned_media": trip(MODEL, ways=ways(MODEL, answer))}
    return ask(CHECK, **(given | others))


def encrypted(how: Answer) -> Answer:
    """Right, but for what is encrypted."""
    return lambda question: how(question) if question.key else right(question)


class TestThePart:
    def test_a_scanner_that_refuses_a_virus_and_nothing_else_is_all_right(self) -> None:
        pen = judged()
        assert pen.failures == []
        assert {SCANNER.id, CLAMD.id} <= {*pen.seen}

    def test_nothing_refers_to_one(self) -> None:
        pen = judged(deployment=replace(MODEL, antivirus=Antivirus()))
        assert (pen.failures, pen.seen) == ([], [])
        assert pen.absence.startswith("nothing refers to a content scanner")

    def test_whether_anything_refers_to_one_is_not_known(self) -> None:
        blind = replace(
            MODEL,
            antivirus=Antivirus(),
            synapse=tuple(replace(each, config=None, config_problem="no") for each in MODEL.synapse),
        )
        assert {each.status for each in judged(deployment=blind).failures} == {Status.UNKNOWN}

    def test_a_route_leads_to_none(self) -> None:
        pen = judged(deployment=scanning.with_antivirus(LAB, scanners=(), clamds=()))
        assert only(pen).headline == "there is no content scanner, though the configuration of haproxy speaks of one"

    def test_a_route_leads_out_of_what_is_looked_at(self) -> None:
        model = scanning.with_antivirus(LAB, scanners=(), elsewhere=(("the configuration of haproxy", "security"),))
        found = only(judged(deployment=model), Status.UNKNOWN)
        assert found.headline.endswith("in namespace security, which is not looked at")
        assert found.remedy.endswith(",security")

    def test_a_module_of_synapse_may_scan(self) -> None:
        model = scanning.with_antivirus(LAB, scanners=(), modules=("clam_media.Scanner",))
        found = only(judged(deployment=model), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert "clam_media.Scanner" in found.headline

    def test_clamav_stands_there_alone(self) -> None:
        found = only(judged(deployment=scanning.with_antivirus(LAB, scanners=())))
        assert (found.subject, found.nature) == (CLAMD.id, Nature.WRONG)
        assert found.headline == "clamav runs, and there is no content scanner that would ask it"


class TestTheWaysIn:
    def test_are_not_known(self) -> None:
        *pods, front = ways(MODEL)
        lost = replace(front, shown=Heard(), replies=(), lead=Lead(None, "", problem="hs: no", limit="nothing leads"))
        found = only(judged(scanned_media=trip(MODEL, ways=(*pods, lost))), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.endswith("was not seen: nothing leads")

    def test_lead_past_it_by_a_port_of_the_nodes(self) -> None:
        of = recorded.healthy().snapshot
        service = next(each for each in of.all(SERVICE) if each["metadata"]["name"] == "synapse-media-repository")
        wide = {**service, "spec": {**service["spec"], "type": "NodePort"}}
        others = [each for each in of.objects[(SERVICE, "matrix")] if each is not service]
        found = only(judged(snapshot=replace(of, objects={**of.objects, (SERVICE, "matrix"): (*others, wide)})))
        assert found.headline.startswith(
            "Service synapse-media-repository (NodePort) leads to files past content-scanner"
        )


class TestTheCommand:
    def test_flags_everything(self) -> None:
        found = only(judged(refused))
        assert found.headline == (
            "content-scanner refuses every file as if it was a virus: its scan command scan.sh ends with another"
            " code than 0 for every file"
        )
        assert (found.subject, found.nature) == (SCANNER.id, Nature.WRONG)
        assert (
            "clamav says of the clean file 'stream: OK', of EICAR 'stream: Eicar-Test-Signature FOUND'" in found.cause
        )

    def test_flags_nothing(self) -> None:
        brought = past(MODEL, virus=True, heard=Heard(200, scanning.VIRUS))
        found = only(judged(scanned_media=trip(MODEL, ways=ways(MODEL, passed), past=(past(MODEL), brought))))
        assert found.headline == (
            "content-scanner takes every file for clean, EICAR too: its scan command scan.sh ends with 0 for a virus too"
        )
        assert "FOUND" in found.cause

    def test_is_not_known_and_no_clamd_is_in_view(self) -> None:
        scanner = replace(SCANNER, script="")
        seen = tuple(replace(each, scanner=scanner) for each in ways(MODEL, refused))
        alone = scanning.with_antivirus(LAB, scanners=(scanner,), clamds=())
        found = only(judged(deployment=alone, clamd_answers=(), scanned_media=trip(MODEL, ways=seen)))
        assert found.cause == "its scan command ends with another code than 0 for every file"

    def test_cannot_be_run(self) -> None:
        found = only(judged(lambda question: said(question, 500, "M_UNKNOWN")))
        assert found.headline == "content-scanner fails at a clean file: 500 M_UNKNOWN"
        assert "cannot be run" in found.cause

    def test_does_so_in_one_pod_only(self) -> None:
        first, second, front = ways(MODEL)
        wrong = replace(second, replies=tuple(map(refused, scanning.questions())))
        found = only(judged(scanned_media=trip(MODEL, ways=(first, wrong, front))))
        assert found.headline.startswith("content-scanner in content-scanner-b refuses every file")

    def test_may_hold_a_credential(self) -> None:
        scanner = replace(SCANNER, script="TOKEN=hunter2 /usr/bin/curl -u postflight:hunter2 http://scan")
        seen = tuple(replace(each, scanner=scanner) for each in ways(MODEL, refused))
        alone = scanning.with_antivirus(LAB, scanners=(scanner,))
        found = only(judged(deployment=alone, scanned_media=trip(MODEL, ways=seen)))
        assert "its scan command curl ends" in found.headline
        assert "hunter2" not in f"{found!r}{scanner!r}"

    def test_may_have_whatever_name(self) -> None:
        scanner = replace(SCANNER, script="/data/{}/{scan}.sh")
        seen = tuple(replace(each, scanner=scanner) for each in ways(MODEL, refused))
        alone = scanning.with_antivirus(LAB, scanners=(scanner,))
        found = only(judged(deployment=alone, scanned_media=trip(MODEL, ways=seen)))
        assert "content-scanner refuses every file" in found.headline
        assert "its scan command {scan}.sh" in found.headline


class TestClamd:
    def test_is_down_and_so_every_file_is_a_virus(self) -> None:
        answers = scanning.clamds("", "", "nothing listens on port 3310 of clamav-x")
        found = only(judged(refused, clamd_answers=answers))
        assert found.headline == (
            "clamav does not answer: nothing listens on port 3310 of clamav-x, and content-scanner refuses every file as"
            " if it was a virus"
        )
        assert (found.nature, found.needs) == (Nature.UNAVAILABLE, (CLAMD.id, CLAMD.pods[0].id))

    def test_has_no_pod(self) -> None:
        nobody = replace(CLAMD, pods=())
        workload = replace(LAB.workloads[0], id=CLAMD.workload, desired=0)
        model = scanning.with_antivirus(replace(LAB, workloads=(workload,)), clamds=(nobody,))
        found = only(judged(refused, deployment=model, clamd_answers=()))
        assert found.headline.startswith("clamav has no pod, and content-scanner refuses every file")
        assert found.cause == "no node is one that it is to run on, or it is scaled to none"

    def test_is_down_and_the_command_takes_that_for_clean(self) -> None:
        found = only(judged(passed, clamd_answers=scanning.clamds("", "", "no answer in time")))
        assert found.headline.endswith(", and content-scanner takes every file for clean, EICAR too")

    def test_is_down_and_nobody_notices(self) -> None:
        assert only(judged(clamd_answers=scanning.clamds("", "", "no"))).headline == "clamav does not answer: no"

    def test_does_not_answer_in_one_pod(self) -> None:
        other = ready("clamav-y")
        both = replace(CLAMD, pods=(*CLAMD.pods, other))
        answers = (*scanning.clamds(), replace(scanning.clamds("", "", "no")[0], pod=other, clamd=both))
        found = only(judged(deployment=scanning.with_antivirus(LAB, clamds=(both,)), clamd_answers=answers))
        assert (found.subject, found.nature) == (other.id, Nature.UNAVAILABLE)

    def test_knows_no_eicar(self) -> None:
        found = only(judged(passed, clamd_answers=scanning.clamds(eicar=scanning.OK)))
        assert found.headline == "clamav does not know EICAR, and content-scanner takes every file for clean, EICAR too"
        assert (found.subject, found.nature) == (CLAMD.id, Nature.WRONG)

    def test_finds_a_virus_in_anything(self) -> None:
        found = only(judged(refused, clamd_answers=scanning.clamds(scanning.FOUND)))
        assert found.headline.startswith("clamav takes any file for a virus, and content-scanner refuses every file")


class TestTheScanner:
    def test_has_no_pod_that_is_ready(self) -> None:
        away = replace(SCANNER, pods=tuple(replace(each, ready=False) for each in PODS))
        seen = ways(MODEL, shown=Heard(503), replies=())[-1:]
        pen = judged(deployment=scanning.with_antivirus(LAB, scanners=(away,)), scanned_media=trip(MODEL, ways=seen))
        assert {each.nature for each in pen.failures} == {Nature.UNAVAILABLE}
        assert pen.failures[0].headline == "content-scanner has no pod that is ready"
        assert PODS[0].id in pen.failures[0].needs

    def test_does_not_answer(self) -> None:
        silent = tuple(replace(each, shown=Heard(problem="no answer in time"), replies=()) for each in ways(MODEL)[:2])
        found = only(judged(scanned_media=trip(MODEL, ways=(*silent, ways(MODEL)[2]))))
        assert found.headline == "content-scanner does not answer: no answer in time"
        assert (found.nature, found.needs[:2]) == (Nature.UNAVAILABLE, (SCANNER.id, PODS[0].id))

    @pytest.mark.parametrize(
        ("status", "reason", "words", "nature"),
        [
            (502, "MCS_MEDIA_REQUEST_FAILED", "cannot fetch files from http://synapse-media", Nature.UNAVAILABLE),
            (401, "M_MISSING_TOKEN", "without the client's token", Nature.WRONG),
            (404, "M_NOT_FOUND", "does not find a clean file at http://synapse-media", Nature.WRONG),
            (418, "", "answers 418 for a clean file", Nature.WRONG),
        ],
    )
    def test_does_not_get_the_file(self, status: int, reason: str, words: str, nature: Nature) -> None:
        found = only(judged(lambda question: said(question, status, reason)))
        assert words in found.headline
        assert found.nature is nature

    def test_takes_no_such_files(self) -> None:
        found = only(judged(lambda question: said(question, 403, "MCS_MIME_TYPE_FORBIDDEN")), Status.WARNED)
        assert found.nature is Nature.UNPROVEN

    def test_cannot_decrypt(self) -> None:
        found = only(judged(encrypted(lambda question: said(question, 400, "MCS_MEDIA_FAILED_TO_DECRYPT"))))
        assert found.headline == (
            "content-scanner cannot decrypt a clean encrypted file: 400 MCS_MEDIA_FAILED_TO_DECRYPT"
        )

    def test_looks_at_what_is_encrypted_as_it_is(self) -> None:
        found = only(judged(encrypted(passed)))
        assert found.headline == "content-scanner passes encrypted EICAR and scan of encrypted EICAR"

    def test_refuses_a_clean_file_that_is_encrypted(self) -> None:
        found = only(judged(encrypted(refused)))
        assert found.headline == "content-scanner refuses a clean encrypted file as if it was a virus"

    def test_changes_a_file(self) -> None:
        def other(question: Question) -> Reply:
            return replace(right(question), same=False)

        assert only(judged(other)).headline == "content-scanner changes a clean file on its way"

    def test_shows_no_key(self) -> None:
        plain = tuple(each for each in map(right, scanning.questions()) if not each.question.key)
        mute = tuple(replace(each, shown=Heard(404, b"{}"), replies=plain) for each in ways(MODEL)[:2])
        found = only(judged(scanned_media=trip(MODEL, ways=(*mute, ways(MODEL)[2]))))
        assert found.headline == "content-scanner shows no public key (404), so nobody can encrypt for it"

    def test_has_a_key_of_its_own_in_each_pod(self) -> None:
        first, second, front = ways(MODEL)
        seen = (first, replace(second, shown=Heard(200, b'{"public_key": "another"}')), front)
        assert "have different keys" in only(judged(scanned_media=trip(MODEL, ways=seen))).headline


class TestTheFrontDoor:
    def test_leads_downloads_past_the_scanner(self) -> None:
        bypass: dict[str, Any] = {
            "proxy": replace(PROXY, backends={**PROXY.backends, "media_workers": (MEDIA,)}),
            "backend": "media_workers",
            "pods": (),
        }
        brought = {"virus": True, "heard": Heard(200, scanning.VIRUS), **bypass}
        routes = (DOWNLOAD, "/_matrix/media/v3/download", "/_matrix/media/r0/download")
        seen = (past(MODEL, **bypass), *(past(MODEL, route=route, token=False, **brought) for route in routes))
        found = only(judged(scanned_media=trip(MODEL, past=seen)))
        assert found.headline == (
            f"{PROXY.name} leads {DOWNLOAD} and 2 more past content-scanner, to media_workers"
            " (synapse-media-repository): EICAR comes to clients"
        )
        assert (found.subject, found.nature) == (PROXY.id, Nature.WRONG)
        assert "without a token: 200" in found.observed

    def test_is_the_homeserver_itself(self) -> None:
        brought = past(MODEL, virus=True, heard=Heard(200, scanning.VIRUS), proxy=None, backend="", pods=())
        found = only(judged(scanned_media=trip(MODEL, past=(past(MODEL), brought))))
        assert found.headline.startswith(f"the homeserver leads {DOWNLOAD} past content-scanner, to a process")

    def test_brings_a_virus_by_the_scanner_that_refuses_it_elsewhere(self) -> None:
        brought = past(MODEL, virus=True, heard=Heard(200, scanning.VIRUS))
        assert (
            "to content_scanner (content-scanner)" in only(judged(scanned_media=trip(MODEL, past=(brought,)))).headline
        )

    def test_does_not_lead_to_the_scanner(self) -> None:
        shown = Heard(404, b'{"errcode": "M_UNRECOGNIZED"}')
        found = only(judged(scanned_media=trip(MODEL, ways=ways(MODEL, shown=shown, replies=()))))
        assert found.headline == (
            f"{PROXY.name} does not lead clients to content-scanner: nothing is scanned that is encrypted"
        )

    @pytest.mark.parametrize("shown", [Heard(503), Heard(problem="no answer in time")])
    def test_does_not_answer_for_the_scanner(self, shown: Heard) -> None:
        pen = judged(scanned_media=trip(MODEL, ways=ways(MODEL, shown=shown, replies=())))
        found = only(pen)
        assert found.nature is Nature.UNAVAILABLE
        assert any(each.startswith("backend/") for each in found.needs)

    def test_is_not_public_at_all(self) -> None:
        seen = ways(MODEL, shown=Heard(problem="no path"), replies=(), lead=Lead(None, "", problem="no path"))
        assert only(judged(scanned_media=trip(MODEL, ways=seen, past=()))).nature is Nature.UNAVAILABLE

    def test_may_refuse_ordinary_downloads(self) -> None:
        assert judged(scanned_media=trip(MODEL, past=(past(MODEL, heard=Heard(403), brought=False),))).failures == []

    def test_gives_no_clean_file_at_all(self) -> None:
        shown = Heard(404, b"{}")
        seen = trip(
            MODEL, ways=ways(MODEL, shown=shown, replies=()), past=(past(MODEL, heard=Heard(403), brought=False),)
        )
        assert [each.headline.split(",")[0] for each in judged(scanned_media=seen).failures] == [
            f"{PROXY.name} does not lead clients to content-scanner: nothing is scanned that is encrypted",
            "no clean file comes to clients",
        ]

    def test_gives_something_else(self) -> None:
        seen = trip(MODEL, past=(past(MODEL, heard=Heard(200, b"other"), brought=False),))
        assert only(judged(scanned_media=seen)).headline == f"a clean file does not come whole by {DOWNLOAD}"

    def test_does_not_answer_downloads(self) -> None:
        found = only(judged(scanned_media=trip(MODEL, past=(past(MODEL, heard=Heard(503), brought=False),))))
        assert found.nature is Nature.UNAVAILABLE

    def test_leads_to_a_scanner_that_answers_otherwise_there(self) -> None:
        replies = tuple(map(encrypted(lambda question: said(question, 413)), scanning.questions()))
        found = only(judged(scanned_media=trip(MODEL, ways=ways(MODEL, replies=replies))))
        assert found.headline.startswith(f"content-scanner, asked by {PROXY.name}, answers 413")


class TestWhatWasNotSeen:
    def test_by_the_safety_level(self) -> None:
        found = only(judged(scanned_media=READ_ONLY), Status.WARNED)
        assert found.nature is Nature.UNPROVEN

    def test_what_clamd_says_is_judged_all_the_same(self) -> None:
        pen = judged(scanned_media=READ_ONLY, clamd_answers=scanning.clamds(eicar=scanning.OK))
        assert [each.status for each in pen.failures] == [Status.FAILED, Status.WARNED]
        assert pen.failures[0].headline == "clamav does not know EICAR"

    def test_for_want_of_a_right(self) -> None:
        assert only(judged(scanned_media=NotTried("no right", BarredBy.RIGHT)), Status.UNKNOWN)

    def test_for_want_of_a_user(self) -> None:
        found = only(judged(scanned_media=Hindered("no login", "pod/matrix/main")), Status.UNKNOWN)
        assert (found.subject, found.headline.endswith("was not seen: no login")) == ("pod/matrix/main", True)

    @pytest.mark.parametrize(("status", "verdict"), [(413, Status.UNKNOWN), (500, Status.FAILED), (0, Status.FAILED)])
    def test_as_the_upload_was_refused(self, status: int, verdict: Status) -> None:
        found = only(judged(scanned_media=trip(MODEL, refused="no", status=status)), verdict)
        assert found.headline.endswith(": no")
        assert found.needs == (trip(MODEL).uploader.id, *(each.id for each in MODEL.stores))

    def test_by_choice(self) -> None:
        seen = trip(MODEL, ways=ways(MODEL, lambda question: passed(replace(question, clean=True))))
        found = only(judged(scanned_media=seen, settings=Settings(eicar=False)), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.endswith("the settings say eicar: off")

    def test_by_choice_a_scanner_that_refuses_all_is_red_all_the_same(self) -> None:
        seen = trip(MODEL, ways=ways(MODEL, lambda question: refused(replace(question, clean=True))))
        pen = judged(scanned_media=seen, settings=Settings(eicar=False))
        assert [each.status for each in pen.failures] == [Status.FAILED, Status.WARNED]

    def test_as_it_could_not_be_removed(self) -> None:
        found = only(judged(scanned_media=trip(MODEL, spared="a file cannot be removed (no right)")), Status.WARNED)
        assert found.headline.endswith("was not seen: a file cannot be removed (no right)")

    def test_what_is_left_is_told(self) -> None:
        found = only(judged(scanned_media=trip(MODEL, left="403 AccessDenied")), Status.WARNED)
        assert found.headline == "EICAR (postflight-eicar) is still in the media store: 403 AccessDenied"

    def test_no_answer_is_a_find_by_its_status_alone(self) -> None:
        bare = Reply(scanning.questions()[4], replace(DIRTY, body=b"403 Forbidden"))
        assert not bare.right
