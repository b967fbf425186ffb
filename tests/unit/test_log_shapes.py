"""What may be shown of a log line: which words stay, and which never do."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from postflight.deployment.log_lines import Level, Record
from postflight.deployment.log_shapes import SHOWN, exception_of, headline, shape

TOKEN = "syt_YWxpY2U_dGhpcyBpcyBub3QgcmVhbA_1a2B3c"


def record(text: str) -> Record:
    return Record(datetime(2026, 1, 1, tzinfo=UTC), Level.ERROR, "synapse.x", "GET-1", text)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Background process 'update_client_ips' threw an exception", None),
        ("AttributeError: 'GenericWorkerStore' object has no attribute 'get_user'", None),
        ("Instance 'two' not in 'instance_map' config", None),
        ('relation "events" does not exist', None),
        ("psycopg2.errors.DiskFull", None),
        ("permission denied for table user_ips", None),
        ("[TXN DEADLOCK] {store_room-1f} 5/5", "[TXN DEADLOCK] {store_room-#} #/#"),
        ("Failed to do @alice:one.test in !room:one.test", "Failed to do @… in !…"),
        (
            "Unable to parse json from event: $Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg",
            "Unable to parse json from event: $…",
        ),
        ("room #alias:one.test", "room #…"),
        ("Login of 'alice' failed", "Login of … failed"),
        ('Login of "alice o\'neill" failed', "Login of … failed"),
        ("it's not alice's, don't", None),
        ("an open 'quote of alice", "an open …"),
        (f"with token {TOKEN}", "with token #"),
        ("Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "Bearer <host>"),
        ("content {'body': 'hello', 'msgtype': 'm.text'}", "content {…}"),
        ("content {'body': 'hello", "content {…}"),
        ("list ['a', 'b'] of it", "list […] of it"),
        ("Key (user_id)=(alice)", "Key (user_id)=(…)"),
        ("from 203.0.113.9:443 and 2001:db8::9", "from <ip> and <ip>"),
        ("mail to alice@one.test", "mail to <address>"),
        ("asked https://one.test/_matrix?access_token=x", "asked <url>"),
        ("asked matrix.one.test", "asked <host>"),
        ("read /data/media_store/local/aa/bb/cc", "read <path>"),
        ("event <FrozenEventV3 event_id=$a, type=m.room.message>", "event <FrozenEventV3>"),
        ("it is 0x7f06 of 12", "it is # of #"),
        (
            "via <XForwardedForRequest at 0x7 method='PUT' uri='/_matrix/client/v3/rooms/%21a%3Aone.test/send/"
            "m.room.message/7?access_token=<redacted>' clientproto='HTTP/1.1' site='8008'> now",
            "via PUT /_matrix/client/v3/rooms/…/send/m.room.message/… now",
        ),
    ],
)
def test_of_a_line(line: str, expected: str | None) -> None:
    assert shape(line) == (line if expected is None else expected)


def test_a_long_line_is_cut() -> None:
    assert len(shape("long " * 5000)) == SHOWN


def test_a_line_of_private_characters_gives_nothing_back() -> None:
    assert shape("\ue000\ue001 process 'one'") == "process 'one'"


def test_of_the_first_line_what_follows_the_colon_is_anybodys() -> None:
    assert headline(record("Failed to run it: alice says hello")) == "Failed to run it: …"
    assert headline(record("Failed to run it for 'alice': process 'update_x'")) == "Failed to run it for …: 'update_x'"
    assert headline(record("Unhandled error in Deferred:")) == "Unhandled error in Deferred:"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("KeyError: 'alice'", "KeyError"),
        ("synapse.api.errors.SynapseError: 404: alice", "synapse.api.errors.SynapseError"),
        (
            'psycopg2.errors.UniqueViolation: duplicate key value violates unique constraint "a"\nDETAIL:  Key (x)=(y)',
            'psycopg2.errors.UniqueViolation: duplicate key value violates unique constraint "a"',
        ),
        (
            "psycopg2.errors.SyntaxError: at or near\nLINE 1: SELECT secret\n        ^",
            "psycopg2.errors.SyntaxError: at or near",
        ),
        ("AssertionError", "AssertionError"),
        ("Exception: alice\nsaid: hello", "Exception"),
        ("", ""),
    ],
)
def test_of_an_exception(lines: str, expected: str) -> None:
    text = f'Failed\nTraceback (most recent call last):\n  File "x", line 1, in y\n    z()\n{lines}'
    assert exception_of(record(text)) == expected


def test_a_line_without_a_traceback_has_no_exception() -> None:
    assert exception_of(record("ValueError: said so")) == ""
