"""Log lines as Synapse writes them, in each of its forms, and what is kept of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from postflight.deployment.log_lines import LINES_KEPT, Level, Record, read

FAILED = (
    "2026-11-28 16:03:32,850 - synapse.http.server - 148 - ERROR - GET-52 - Failed handle request via 'OpenIdUserInfo':"
    " <XForwardedForRequest at 0x7fd0b9f8a9d0 method='GET' uri='/_matrix/x?access_token=<redacted>' site='8008'>"
)
TRACEBACK = (
    "Traceback (most recent call last):",
    '  File "/opt/synapse/synapse/http/server.py", line 336, in _async_render_wrapper',
    "    callback_return = await self._async_render(request)",
    "AttributeError: 'GenericWorkerStore' object has no attribute 'get_user_id_for_open_id_token'",
)
ACCESS = (
    "2026-11-28 16:03:33,174 - synapse.access.http.8008 - 643 - INFO - GET-52 - 127.0.0.1 - 8008 - {None} Processed"
    ' request: 0.275sec/0.050sec (0.002sec, 0.000sec) (0.000sec/0.000sec/0) 55B 500 "GET /_matrix/x HTTP/1.1"'
    ' "Python-urllib/3.12" [0 dbevts]'
)


def stamped(*lines: str) -> list[str]:
    return [f"2026-11-28T16:03:{33 + number:02}.016873458Z {line}" for number, line in enumerate(lines)]


def kept(*lines: str, wanted: str = "?") -> tuple[Record, ...]:
    return read(stamped(*lines), lambda text: wanted in text).kept


def test_a_traceback_belongs_to_the_line_before_it() -> None:
    (record,) = kept(FAILED, *TRACEBACK, ACCESS)
    assert (record.level, record.logger, record.request) == (Level.ERROR, "synapse.http.server", "GET-52")
    assert record.first_line.startswith("Failed handle request via 'OpenIdUserInfo'")
    assert record.last_line == TRACEBACK[-1]
    assert record.at == datetime(2026, 11, 28, 16, 3, 33, 16873, tzinfo=UTC)


def printed(*lines: str) -> list[str]:
    """As they come in one moment, each as a record of its own."""
    head = "2026-11-28T16:03:33.0Z 2026-11-28 16:03:33,174 - twisted - 273 - ERROR - sentinel - "
    return [head + each for each in lines]


def test_a_traceback_that_is_printed_line_by_line_is_one_record() -> None:
    other = f"2026-11-28T16:03:33.0Z {FAILED}"
    lines = printed("Traceback (most recent call last):", *TRACEBACK[1:], "Unhandled error in Deferred:")
    first, between, last = read([lines[0], other, *lines[1:]], lambda text: False).kept
    assert (first.logger, first.text) == ("twisted", "\n".join(("Traceback (most recent call last):", *TRACEBACK[1:])))
    assert between.logger == "synapse.http.server"
    assert last.text == "Unhandled error in Deferred:"


def test_what_led_to_a_traceback_belongs_to_it_and_the_next_does_not() -> None:
    one = ("Traceback (most recent call last):", "  File x", "ValueError: one")
    led = ("", "During handling of the above exception, another exception occurred:", "")
    assert [
        each.last_line for each in read(printed(*one, *led, *one[:2], "KeyError: 2", *one), lambda text: False).kept
    ] == [
        "KeyError: 2",
        "ValueError: one",
    ]


def test_an_access_line_tells_who_asked() -> None:
    assert [each.agent for each in kept(FAILED, *TRACEBACK, ACCESS)] == ["Python-urllib/3.12"]
    assert [each.agent for each in kept(FAILED, *TRACEBACK, ACCESS.replace("GET-52", "GET-5"))] == [None]


def test_an_access_line_of_1_119_tells_it_too() -> None:
    line = (
        "2026-11-28 21:08:22,664 - synapse.access.http.8008 - 473 - INFO - POST-48 - 10.244.0.7 - 8008 -"
        " {@postflight:lab.test} Processed request: 0.014sec/0.003sec (0.005sec, 0.001sec) (0.003sec/0.005sec/10) 2B 200"
        ' "POST /_matrix/client/v3/logout HTTP/1.1" "python-httpx/0.28.1" [0 dbevts]'
    )
    failed = FAILED.replace("GET-52", "POST-48")
    assert [each.agent for each in kept(failed, *TRACEBACK, line)] == ["python-httpx/0.28.1"]


def test_releases_before_1_140_write_no_blank_after_the_request() -> None:
    (record,) = kept(FAILED.replace("GET-52 - ", "GET-52- "))
    assert (record.request, record.text[:6]) == ("GET-52", "Failed")


def test_a_name_before_the_time_is_no_hindrance() -> None:
    assert kept(f"federation_sender1 | {FAILED}")[0].logger == "synapse.http.server"


def test_below_warning_only_what_is_wanted_is_kept() -> None:
    line = "2026-11-28 16:03:32,850 - twisted - 273 - INFO - sentinel - Could not accept new connection (EMFILE)"
    assert kept(line) == ()
    assert kept(line, wanted="EMFILE")[0].text == "Could not accept new connection (EMFILE)"


def structured(**fields: Any) -> str:
    return json.dumps(fields)


@pytest.mark.parametrize(
    "line",
    [
        structured(
            log="went wrong", namespace="synapse.x", level="ERROR", request="GET-1", exc_type="E", exc_value="why"
        ),
        structured(severity="ERROR", message="went wrong\nE: why", logger="synapse.x", time="now", request="GET-1"),
    ],
    ids=["terse", "google"],
)
def test_structured_lines_say_the_same(line: str) -> None:
    (record,) = kept(line)
    assert (record.level, record.logger, record.request) == (Level.ERROR, "synapse.x", "GET-1")
    assert (record.first_line, record.last_line) == ("went wrong", "E: why")


def test_an_exception_without_a_value_is_its_name() -> None:
    assert (
        kept(structured(log="a", level="ERROR", exc_type="AssertionError", exc_value=""))[0].last_line
        == "AssertionError"
    )


def test_lines_of_another_form_are_read_by_the_name_of_their_level() -> None:
    lines = ("[12:00:01] INFO synapse.app: up", "[12:00:02] ERROR synapse.storage.txn: went wrong", "  because of this")
    (record,) = kept(*lines)
    assert (record.level, record.logger) == (Level.ERROR, "synapse.storage.txn")
    assert record.text.endswith("went wrong\n  because of this")


def test_words_in_a_traceback_begin_no_record_where_the_form_is_known() -> None:
    assert len(kept(FAILED, "ERROR: something that PostgreSQL said")) == 1


def test_lines_without_a_level_are_not_understood() -> None:
    found = read(stamped("hello", "world"), lambda text: False)
    assert (found.kept, found.understood) == ((), False)


def test_no_lines_are_nothing_to_understand() -> None:
    assert read([], lambda text: False).understood


def test_of_a_long_traceback_beginning_and_end_are_kept() -> None:
    (record,) = kept(FAILED, *(f"  line {number}" for number in range(1000)), "psycopg2.errors.DiskFull: no space")
    assert record.last_line == "psycopg2.errors.DiskFull: no space"
    assert "  line 1\n" in record.text
    assert record.text.count("\n") < 2 * LINES_KEPT


def test_a_time_that_is_none_is_long_ago() -> None:
    assert read([f"never {FAILED}"], lambda text: False).kept[0].at.year == 1
