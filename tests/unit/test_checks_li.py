"""The checks of lawful intercept, given each kind of fault alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from checks.li import test_main_database_rights, test_replication
from postflight.cluster.kinds import CRON_JOB
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Import
from postflight.probes.arrival import Arrival
from postflight.probes.databases import LoginOutcome
from postflight.probes.li import Attempt, MainRights, Replication, Role, Said
from postflight.probes.li_import import Imported
from postflight.probes.probe import BarredBy, NotTried
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit.li_world import ARRIVED, RIGHTS, TABLES, model, replication
from tests.unit.observations import only
from tests.unit.stores import MIB
from tests.unit.worlds import Json, snapshot

MODEL = model()
NOTHING = Imported(Said({}), Said({}))
SEEN = snapshot()
LI_STOPPED = ("li/matrix", "pod/matrix/second")


def followed(
    seen: Replication | None = None,
    arrival: Arrival | NotTried = ARRIVED,
    rights: MainRights = RIGHTS,
    of: Deployment = MODEL,
    imported: Imported = NOTHING,
    world: Snapshot = SEEN,
) -> Judge:
    pen = Judge()
    test_replication.test_what_main_stores_is_read_in_the_database_of_li_within_seconds(
        of, seen or replication(), rights, arrival, imported, world, pen
    )
    return pen


class TestReplication:
    def test_all_is_well(self) -> None:
        pen = followed()
        assert (pen.failures, pen.seen) == ([], ["subscription feed", "event $event"])

    def test_it_is_absent_where_nothing_refers_to_li(self) -> None:
        assert followed(of=replace(MODEL, li=None)).absence == "nothing refers to a lawful-intercept homeserver"

    def test_an_empty_schema_is_the_cause_of_a_missing_subscription(self) -> None:
        found = only(followed(replication(here=(), subscriptions=[])))
        assert (
            found.headline == "LI's database matrix_li has none of main's tables and no subscription: no data reach LI"
        )
        assert "schema" in found.cause
        assert set(LI_STOPPED) <= set(found.stops)

    def test_where_cronjobs_are_not_to_be_seen_it_may_be_fed_by_import(self) -> None:
        blind = replace(SEEN, unseen={(CRON_JOB, "matrix"): "no right: list cronjobs"})
        found = only(followed(replication(here=(), subscriptions=[]), world=blind), Status.UNKNOWN)
        assert found.headline.endswith("was not seen: no right: list cronjobs")
        assert followed(world=blind).failures == []

    def test_a_subscription_that_is_missing_though_the_schema_is_there(self) -> None:
        found = only(followed(replication(subscriptions=[])))
        assert found.headline == "LI's database matrix_li has no subscription: no data reach LI"

    def test_a_table_that_only_main_has_is_named_although_all_say_ready(self) -> None:
        seen = replication(
            published=(*TABLES, "later"),
            states=dict.fromkeys(TABLES, "r"),
            slot={"active": False},
            pid=None,
            errors={"feed": {"apply": 4, "copy": 0}},
        )
        found = only(followed(seen, Arrival("$event", None, 10.0)))
        assert found.headline == ("LI's database has no table later, which main publishes: nothing is applied any more")
        assert "no apply worker, slot not active, 0.0 MiB behind, 4 apply errors" in found.observed

    def test_a_table_that_is_there_and_not_followed(self) -> None:
        found = only(followed(replication(states={"events": "r", "event_json": "r"})))
        assert found.headline == "LI does not follow rooms, which main publishes: its rows are silently left out"
        assert found.stops == ()

    def test_a_table_without_select(self) -> None:
        barred = replace(RIGHTS.roles[0], unreadable=("public.rooms",))
        states = {"events": "r", "event_json": "r", "rooms": "d"}
        found = only(followed(replication(states=states), rights=MainRights((barred,))))
        assert found.headline == "LI gets no row of rooms: role reader may not read it in main's database"
        assert "public.rooms being copied (d)" in found.observed

    def test_a_copy_that_is_not_complete_for_another_reason(self) -> None:
        found = only(followed(replication(states={"events": "r", "event_json": "f", "rooms": "i"})))
        assert found.headline == "LI's copy of event_json and rooms is not complete"

    @pytest.mark.parametrize(
        ("seen", "why"),
        [
            (replication(pid=None, slot={"active": False}), "its worker fails and is started again"),
            (replication(enabled=False, pid=None), "it is disabled"),
            (replication(slot={"name": "another"}), "main has no slot feed"),
        ],
    )
    def test_nobody_follows(self, seen: Replication, why: str) -> None:
        found = only(followed(seen))
        assert found.headline == f"LI follows main no more: subscription feed has no worker, {why}"
        assert set(LI_STOPPED) <= set(found.stops)

    def test_a_publication_that_main_does_not_have(self) -> None:
        assert "names publication gone" in followed(replication(publications=["gone"])).failures[0].headline

    def test_bytes_behind_and_silence_are_warned_of(self) -> None:
        pen = followed(replication(slot={"behind": 100 * MIB}, silent=300.0))
        assert [each.headline for each in pen.failures] == [
            "LI is 100 MiB behind main",
            "LI has heard nothing from main for 300 s",
        ]
        assert {each.status for each in pen.failures} == {Status.WARNED}

    def test_an_event_that_does_not_arrive(self) -> None:
        found = only(followed(arrival=Arrival("$event", None, 10.0)))
        assert found.headline.startswith("an event sent through main is not in LI's database after 10 s")

    def test_an_event_that_does_not_arrive_is_said_beside_a_warning(self) -> None:
        """The worker waits on a lock: it runs, its slot is active, every table says ready."""
        pen = followed(replication(slot={"behind": 100 * MIB}), Arrival("$event", None, 10.0))
        assert [each.status for each in pen.failures] == [Status.WARNED, Status.FAILED]
        assert pen.failures[1].headline == "an event sent through main is not in LI's database after 10 s"
        assert "100.0 MiB behind" in pen.failures[1].observed

    def test_an_event_that_could_not_be_followed_is_said_beside_a_warning(self) -> None:
        pen = followed(replication(slot={"behind": 100 * MIB}), Arrival(problem="no login"))
        assert [each.status for each in pen.failures] == [Status.WARNED, Status.UNKNOWN]

    @pytest.mark.parametrize(
        "first",
        [{}, {"silent": 300.0}, {"publications": ["gone"]}],
        ids=["after one that follows", "after one that is warned of", "after one that failed"],
    )
    def test_each_subscription_without_a_worker_is_said(self, first: Json) -> None:
        one = {"name": "feed", "enabled": True, "slot": "feed", "publications": ["pub"], "pid": 7, "silent": 1.5}
        both = [one | first, one | {"name": "other", "slot": "lost", "pid": None}]
        pen = followed(replication(subscriptions=both))
        assert "LI follows main no more: subscription other has no worker, main has no slot lost" in [
            each.headline for each in pen.failures
        ]

    def test_an_event_that_could_not_be_sent_is_blamed_on_main(self) -> None:
        found = only(followed(arrival=Arrival(problem="it does not run", where="pod/matrix/hs")), Status.UNKNOWN)
        assert found.needs == ("pod/matrix/hs",)

    def test_read_only_sees_it_by_a_weaker_way(self) -> None:
        refusal = NotTried("needs --safety canary", BarredBy.SAFETY)
        assert "needs --safety canary" in only(followed(arrival=refusal), Status.WARNED).headline

    def test_a_database_that_does_not_answer_is_not_known(self) -> None:
        seen = replace(replication(), followed=Said({}, problem="timed out"))
        found = only(followed(seen), Status.UNKNOWN)
        assert found.headline == "LI's database (pg-li) could not be asked how it replicates: timed out"
        assert found.needs == ("postgresql/matrix/pg-li", "pod/matrix/second")


def event(stream: int, hours: float) -> Said:
    return Said({"stream": stream, "age": hours * 3600})


def imported(due: Said, newest: Said, **job: Any) -> Judge:
    """An LI that a CronJob feeds every six hours."""
    assert MODEL.li
    jobs = (Import("nightly", timedelta(hours=6), **job),)
    of = replace(MODEL, li=replace(MODEL.li, imports=jobs))
    return followed(replication(subscriptions=[]), of=of, imported=Imported(due, newest))


class TestImport:
    def test_all_is_well(self) -> None:
        pen = imported(event(90, 13.5), event(100, 5))
        assert (pen.failures, pen.seen) == ([], ["import nightly"])

    def test_the_newest_that_must_be_there_is_the_newest_there(self) -> None:
        """Nobody has written since."""
        assert imported(event(90, 400), event(90, 400)).failures == []

    def test_it_lacks_what_main_had_two_rounds_ago(self) -> None:
        found = only(imported(event(90, 13.2), event(70, 30)))
        assert found.headline == (
            "LI's newest event is 30 h old, and main has one of 13 h ago that it lacks: CronJob nightly does not bring it"
        )
        assert found.cause == "CronJob nightly fails, or does not end"

    def test_minutes_are_told_as_such(self) -> None:
        found = only(imported(event(90, 13.2), event(70, 1.5)))
        assert found.headline.startswith("LI's newest event is 90 min old")

    def test_it_has_nothing(self) -> None:
        found = only(imported(event(90, 13.2), Said({}), suspended=True))
        assert found.headline.startswith("LI's database has no event, and main has one of 13 h ago")
        assert found.cause == "CronJob nightly is suspended"

    def test_what_a_failed_job_says_is_the_cause(self) -> None:
        found = only(imported(event(90, 13.2), event(70, 30), trouble="Job nightly-1 failed: BackoffLimitExceeded"))
        assert found.cause == "Job nightly-1 failed: BackoffLimitExceeded"

    def test_a_job_that_ends_well_is_no_proof(self) -> None:
        found = only(imported(event(90, 13.2), event(70, 30), brought=datetime(2026, 1, 1, tzinfo=UTC)))
        assert found.cause.startswith("the newest Job of CronJob nightly ended well all the same")

    def test_what_a_round_brought_that_ended_well_is_a_proof_though_nothing_is_old_enough(self) -> None:
        pen = imported(Said({"brought": 90}), event(95, 0.1))
        assert (pen.failures, pen.seen) == ([], ["import nightly"])

    def test_what_a_round_did_not_bring_may_still_come(self) -> None:
        assert only(imported(Said({"brought": 90}), event(70, 2)), Status.WARNED).nature is Nature.UNPROVEN

    def test_main_has_nothing_that_is_old_enough(self) -> None:
        assert only(imported(Said({}), Said({})), Status.WARNED).nature is Nature.UNPROVEN

    def test_a_database_that_does_not_say_it(self) -> None:
        found = only(imported(event(90, 13.2), Said({}, problem="permission denied")), Status.UNKNOWN)
        assert found.headline == (
            "LI is fed by CronJob nightly, and how old LI's newest event is could not be read: permission denied"
        )

    def test_a_subscription_comes_before_an_import(self) -> None:
        assert MODEL.li
        of = replace(MODEL, li=replace(MODEL.li, imports=(Import("nightly", timedelta(hours=6)),)))
        assert followed(of=of, imported=Imported(event(90, 13.2), Said({}))).failures == []


def rights(*roles: Role, attempts: tuple[Attempt, ...] = (), problem: str = "") -> Judge:
    pen = Judge()
    test_main_database_rights.test_the_role_by_which_li_reads_main_can_change_nothing_there(
        MODEL, MainRights(roles, attempts, problem), pen
    )
    return pen


def attempt(outcome: LoginOutcome = LoginOutcome.ACCEPTED, refused: bool | None = True, problem: str = "") -> Attempt:
    assert MODEL.li
    return Attempt(MODEL.li.sync[0], outcome, "public.users", refused, problem)


class TestMainDatabaseRights:
    def test_a_role_that_only_reads(self) -> None:
        pen = rights(*RIGHTS.roles, attempts=(attempt(),))
        assert (pen.failures, pen.seen) == ([], ["role reader"])

    def test_the_owners_role(self) -> None:
        assert MODEL.li
        owner = replace(MODEL.li.sync[0], login=replace(MODEL.li.sync[0].login, user="synapse"))
        role = Role("synapse", True, writes=("public.a", "public.b"), creates=("tables in public",), doors=(owner,))
        found = only(rights(role, attempts=(replace(attempt(refused=False), door=owner),)))
        assert found.headline == (
            "LI reads main's database as synapse, which may write 2 of its tables and may create in it"
        )
        assert found.observed == (
            "UPDATE public.users ... WHERE false was let in; by catalogue synapse may write a and b,"
            " may create tables in public"
        )
        assert "Job setup logs in as synapse (Secret sync/MAIN_DB_PASSWORD)" in found.cause
        assert "the role of main's own processes" in found.cause

    def test_an_update_that_is_let_in_is_enough(self) -> None:
        assert only(rights(*RIGHTS.roles, attempts=(attempt(refused=False),))).nature is Nature.WRONG

    def test_a_superuser(self) -> None:
        assert "is a superuser" in only(rights(Role("reader", True, superuser=True))).headline

    def test_a_role_of_which_no_login_is_known_is_shown_by_its_catalogue_alone(self) -> None:
        found = only(rights(*RIGHTS.roles), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline == (
            "that role reader can change nothing in main's database is shown by its catalogue rights alone:"
            " no login of it is known, and no UPDATE was tried"
        )

    def test_a_password_that_is_refused(self) -> None:
        found = only(rights(*RIGHTS.roles, attempts=(attempt(LoginOutcome.PASSWORD, None, "failed"),)))
        assert found.headline == "Job setup cannot log in to main's database as reader: password rejected"

    def test_a_database_that_is_down_is_blamed(self) -> None:
        found = only(rights(*RIGHTS.roles, attempts=(attempt(LoginOutcome.UNREACHABLE, None, "refused"),)))
        assert (found.nature, found.needs[0]) == (Nature.UNAVAILABLE, "postgresql/matrix/pg")

    def test_what_was_not_come_to_is_not_known(self) -> None:
        assert only(rights(*RIGHTS.roles, attempts=(attempt(refused=None, problem="lock"),)), Status.UNKNOWN)
        assert only(rights(problem="no login"), Status.UNKNOWN)
        assert "is not known" in only(rights(), Status.UNKNOWN).headline
