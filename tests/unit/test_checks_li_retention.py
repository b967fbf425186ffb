"""The check of what stays of redacted messages, given each kind of fault alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from checks.li import test_retention
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Import, SynapseProcess
from postflight.deployment.retention import losses
from postflight.probes.arrival import Arrival
from postflight.probes.canary_user import Hindered
from postflight.probes.li import Said
from postflight.probes.probe import BarredBy, NotTried
from postflight.probes.retention import EVIDENCE, Censored, Redacted
from postflight.settings import LiSettings, Settings
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit.li_world import ARRIVED, model, replication
from tests.unit.observations import only
from tests.unit.vaulting import CENSORED, FACTS, REDACTED, ours

MODEL = model()
DAY = 86400.0
SINCE = Settings(li=LiSettings(retention_since="2026-01-01"))
PURGED = Settings(li=LiSettings(keeps_purged=True))
FED = replace(MODEL, li=replace(MODEL.li, imports=(Import("nightly", timedelta(days=1)),)) if MODEL.li else None)


def judged(of: Deployment = MODEL, settings: Settings | None = None, **others: Any) -> Judge:
    pen = Judge()
    given: dict[str, Any] = {
        "censored_rows": CENSORED,
        "li_replication": replication(),
        "li_arrival": ARRIVED,
        "redacted_message": REDACTED,
    }
    test_retention.test_what_users_redact_stays_readable_in_the_storage_of_main_and_of_li(
        of, settings or Settings(), **(given | others), judge=pen
    )
    return pen


def setting(name: str, only_of: str = "", **config: Any) -> Deployment:
    """The deployment where one process, or all of one side, has other settings."""

    def changed(each: SynapseProcess) -> SynapseProcess:
        mine = each.workload_name == only_of if only_of else each.side.value == name
        return replace(each, config={**(each.config or {}), **config}) if mine else each

    return replace(MODEL, synapse=tuple(map(changed, MODEL.synapse)))


def test_all_is_well() -> None:
    pen = judged()
    assert pen.failures == []
    assert pen.seen[-2:] == [
        "redacted message $event in main's database",
        "redacted message $event in LI's database",
    ]


def test_it_is_absent_where_nothing_refers_to_li() -> None:
    assert judged(replace(MODEL, li=None)).absence == "nothing refers to a lawful-intercept homeserver"


class TestSettings:
    def test_li_alone_takes_content_out(self) -> None:
        found = only(judged(setting("li", redaction_retention_period="7d")))
        assert found.headline == ("second takes the content out of what was redacted: redaction_retention_period is 7d")
        assert found.observed == "in effect in second; main has redaction_retention_period: null"
        assert "on LI's side" in found.cause

    def test_main_takes_it_out_of_both(self) -> None:
        found = only(judged(setting("main", redaction_retention_period="7d")))
        assert found.headline.startswith("hs and hs-worker take the content out")
        assert "does so to LI's copy" in found.cause

    def test_one_process_alone(self) -> None:
        assert only(judged(setting("", "hs-worker", redaction_retention_period="30d"))).subject.endswith("hs-worker")

    def test_what_is_not_set_means_seven_days(self) -> None:
        config = dict(MODEL.synapse[0].config or {})
        del config["redaction_retention_period"]
        assert [each.value for each in losses(config)] == ["not set, which means 7d"]
        del config["forgotten_room_retention_period"]
        assert len(list(losses(config))) == 1

    @pytest.mark.parametrize(
        ("config", "setting_named"),
        [
            ({"forgotten_room_retention_period": "28d"}, "forgotten_room_retention_period"),
            ({"retention": {"enabled": True}}, "retention.enabled"),
            ({"enable_ephemeral_messages": True}, "enable_ephemeral_messages"),
        ],
    )
    def test_others_that_lose_something(self, config: dict[str, Any], setting_named: str) -> None:
        assert f": {setting_named} is " in only(judged(setting("li", **config))).headline

    def test_a_retention_that_is_off_is_nothing(self) -> None:
        off = {"retention": {"enabled": False}, "media_retention": {}, "enable_ephemeral_messages": False}
        assert judged(setting("main", **off)).failures == []

    def test_files_that_go_by_age_are_warned_of(self) -> None:
        found = only(judged(setting("main", media_retention={"local_media_lifetime": "90d"})), Status.WARNED)
        assert "local_media_lifetime: 90d" in found.headline

    def test_a_main_that_is_not_known(self) -> None:
        unread = tuple(replace(each, config=None, config_problem="exec refused") for each in MODEL.synapse[:1])
        of = replace(MODEL, synapse=(*unread, *MODEL.synapse[1:]))
        assert only(judged(of), Status.UNKNOWN).headline == "what hs keeps is not known: exec refused"


def censored(**mains: Any) -> Censored:
    return replace(CENSORED, main=Said({**FACTS, "deletes": {"pub": [*EVIDENCE]}, **mains}))


class TestCensored:
    NEWEST = 1_767_000_000.0

    def test_what_came_before_anyone_says_when_is_counted_and_warned_of(self) -> None:
        found = only(judged(censored_rows=censored(count=12, newest=self.NEWEST, since=12)), Status.WARNED)
        assert found.headline == (
            "12 redacted messages have lost their content in main's database, redacted up to 2025-12-29:"
            " what came before it was kept"
        )

    def test_what_is_from_before_the_day_is_counted(self) -> None:
        pen = judged(settings=SINCE, censored_rows=censored(count=12, newest=self.NEWEST, since=0))
        assert pen.failures == []
        assert "12 redactions from before 2026-01-01" in pen.seen

    def test_what_was_lost_since_is_wrong(self) -> None:
        found = only(judged(settings=SINCE, censored_rows=censored(count=12, newest=None, since=3)))
        assert found.headline.startswith(
            "3 messages redacted since 2026-01-01 have lost their content in main's database"
        )

    def test_a_database_that_does_not_say(self) -> None:
        seen = replace(CENSORED, li=Said({}, problem="timed out"))
        found = only(judged(censored_rows=seen), Status.UNKNOWN)
        assert found.needs == ("li/matrix", "postgresql/matrix/pg-li", "pod/matrix/second")

    def test_a_database_without_the_table_is_the_other_checks(self) -> None:
        assert judged(censored_rows=replace(CENSORED, li=Said({}))).failures == []


class TestMessages:
    def test_it_lost_its_text_in_main_and_so_in_li(self) -> None:
        gone = {"$event": ours(body=None)}
        found = only(judged(redacted_message=Redacted("$event", gone, gone)))
        assert found.headline.startswith("1 of our redacted messages is no longer readable in main's database")
        assert found.observed == "1 without their text, 0 without a row in event_json"

    def test_one_of_a_run_before_was_purged_in_li_alone(self) -> None:
        old, lost = ours("$old", 9 * DAY), ours("$old", 9 * DAY, None, held=False)
        here, there = {"$event": ours(), "$old": old}, {"$event": ours(), "$old": lost}
        found = only(judged(redacted_message=Redacted("$event", here, there)))
        assert found.headline.endswith("readable in LI's database, the youngest redacted 9.0 days ago")

    def test_what_was_lost_before_it_was_promised_is_no_matter(self) -> None:
        old = {"$event": ours(), "$old": ours("$old", 9 * DAY, None)}
        assert judged(redacted_message=Redacted("$event", old, old, promised=8 * DAY)).failures == []

    def test_it_does_not_come_to_li(self) -> None:
        seen = Redacted("$event", {"$event": ours()}, {}, 12.0)
        found = only(judged(redacted_message=seen), Status.UNKNOWN)
        assert "did not come to LI's within 12 s, though the message did" in found.headline
        assert found.needs == ("li/matrix",)
        found = only(judged(redacted_message=seen, li_arrival=Arrival("$event")), Status.UNKNOWN)
        assert found.headline.endswith("LI does not follow main")

    def test_main_does_not_have_the_redaction(self) -> None:
        seen = Redacted("$event", {}, {"$event": ours()})
        assert "is not among its rows" in only(judged(redacted_message=seen), Status.UNKNOWN).headline

    @pytest.mark.parametrize("side", ["main", "li"])
    def test_a_database_that_was_not_asked(self, side: str) -> None:
        problem: dict[str, Any] = {f"{side}_problem": "timed out"}
        assert only(judged(redacted_message=replace(REDACTED, **problem)), Status.UNKNOWN)

    def test_it_could_not_be_redacted(self) -> None:
        found = only(judged(redacted_message=Hindered("it does not run", "pod/matrix/hs")), Status.UNKNOWN)
        assert found.needs == ("pod/matrix/hs",)

    def test_read_only_sees_it_by_a_weaker_way(self) -> None:
        refusal = NotTried("needs --safety canary", BarredBy.SAFETY)
        assert only(judged(redacted_message=refusal), Status.WARNED).nature is Nature.UNPROVEN


class TestImport:
    def test_what_an_earlier_round_brought_is_a_proof(self) -> None:
        seen = Redacted("$event", {"$event": ours(), "$old": ours("$old", DAY)}, {"$old": ours("$old", DAY)})
        pen = judged(FED, li_replication=replication(subscriptions=[]), redacted_message=seen)
        assert pen.failures == []
        assert "redacted message $old in LI's database" in pen.seen

    @pytest.mark.parametrize(("age", "why"), [(1.0, "none of ours is old enough"), (9 * DAY, "it has none of ours")])
    def test_nothing_of_ours_is_there(self, age: float, why: str) -> None:
        seen = Redacted("$event", {"$event": ours(age=age)}, {})
        found = only(judged(FED, li_replication=replication(subscriptions=[]), redacted_message=seen), Status.WARNED)
        assert (found.nature, found.headline.endswith(why)) == (Nature.UNPROVEN, True)


class TestPurged:
    def test_main_tells_li_of_what_it_deletes(self) -> None:
        found = only(judged(settings=PURGED))
        assert found.headline == "a purge on main erases LI's copy too: publication pub tells LI of deleted events"

    def test_it_is_no_matter_where_nobody_promised_it(self) -> None:
        assert judged().failures == []

    def test_the_remedy_leaves_deletes_of_the_current_state(self) -> None:
        """Synapse deletes and re-inserts these rows: without the deletes LI's copy stops."""
        remedy = only(judged(settings=PURGED)).remedy
        assert "move event_json, events, redactions, state_events into a second publication" in remedy
        assert "ALTER PUBLICATION pub SET" not in remedy

    def test_main_does_not_tell(self) -> None:
        pen = judged(settings=PURGED, censored_rows=censored(deletes={"pub": [], "other": [*EVIDENCE]}))
        assert pen.failures == []
        assert pen.seen[-1] == "publication without deletes"

    @pytest.mark.parametrize("table", ["events", "state_events", "redactions"])
    def test_a_second_publication_tells_of_a_table_beside_event_json(self, table: str) -> None:
        of = replication(publications=["pub", "more"])
        seen = censored(deletes={"pub": [], "more": [table]})
        found = only(judged(settings=PURGED, li_replication=of, censored_rows=seen))
        assert found.headline.endswith("publication more tells LI of deleted events")
        assert f"has delete or truncate for {table}, and" in found.observed

    def test_no_publication_that_li_follows_holds_events(self) -> None:
        seen = censored(deletes={"other": [*EVIDENCE]})
        found = only(judged(settings=PURGED, censored_rows=seen), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.endswith("no publication that LI follows holds main's events")

    def test_li_has_a_trigger_of_its_own(self) -> None:
        guarded = replace(CENSORED, li=Said({**FACTS, "guards": [*EVIDENCE]}))
        assert only(judged(settings=PURGED, censored_rows=guarded), Status.WARNED).nature is Nature.UNPROVEN

    def test_li_has_one_for_some_tables_only(self) -> None:
        guarded = replace(CENSORED, li=Said({**FACTS, "guards": ["event_json"]}))
        found = only(judged(settings=PURGED, censored_rows=guarded))
        assert "for events, redactions, state_events, and no trigger" in found.observed

    def test_an_import_would_have_to_add_only(self) -> None:
        of = replication(subscriptions=[])
        found = only(judged(FED, settings=PURGED, li_replication=of), Status.WARNED)
        assert "CronJob nightly would have to add to LI's data" in found.headline

    def test_a_database_that_was_not_asked(self) -> None:
        unasked = replace(CENSORED, main=Said({}, problem="timed out"))
        pen = judged(settings=PURGED, censored_rows=unasked)
        assert [each.status for each in pen.failures] == [Status.UNKNOWN, Status.UNKNOWN]
