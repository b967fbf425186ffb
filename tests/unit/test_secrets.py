"""Secrets never print, and the redactor knows them however they are spelled."""

from __future__ import annotations

import base64
import copy
import dataclasses
import html
import io
import json
import pickle
import threading
import time
import urllib.parse
from collections.abc import Callable
from xml.sax.saxutils import escape as xml_escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postflight.secrets import RedactedWriter, Redactor, Secret
from postflight.verdict.status import Status

PLAIN = "correct-horse-battery"
NASTY = "p@ss/w\"ord\\ +&<é😀>'%$"


class TestSecret:
    def test_it_prints_as_nothing(self) -> None:
        secret = Secret(PLAIN)
        assert {str(secret), repr(secret), f"{secret}", f"{secret!s}", f"{secret!r}"} == {"<secret>"}
        assert "%s" % secret == "<secret>"  # noqa: UP031  # one more way to print
        assert f"{secret:>10}" == "  <secret>"
        assert PLAIN not in repr({"a": [secret]})

    def test_only_reveal_gives_the_value(self) -> None:
        assert Secret(PLAIN).reveal() == PLAIN
        with pytest.raises(TypeError):
            vars(Secret(PLAIN))
        with pytest.raises(TypeError):
            pickle.dumps(Secret(PLAIN))
        with pytest.raises(TypeError):
            json.dumps(Secret(PLAIN))

    def test_it_compares_by_value_and_only_with_its_like(self) -> None:
        assert Secret("é") == Secret("é")
        assert Secret("a") != Secret("b")
        assert Secret("a") != "a"
        assert {Secret("a"), Secret("a"), Secret("b")} == {Secret("a"), Secret("b")}
        assert Secret("a")
        assert not Secret("")

    def test_it_does_not_change(self) -> None:
        secret = Secret("a")
        with pytest.raises(AttributeError):
            secret._value = "b"
        assert copy.deepcopy(secret) is secret
        assert copy.copy(secret) is secret


ENCODERS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "quote": urllib.parse.quote,
    "quote all": lambda text: urllib.parse.quote(text, safe=""),
    "quote_plus": urllib.parse.quote_plus,
    "quote some": lambda text: urllib.parse.quote(text, safe="!$&'()*+,;=:@/"),
    "quote lower": lambda text: urllib.parse.quote(text, safe="").replace("%2F", "%2f").replace("%C3", "%c3"),
    "json": json.dumps,
    "json unicode": lambda text: json.dumps(text, ensure_ascii=False),
    "json in json": lambda text: json.dumps(json.dumps(text)),
    "repr": repr,
    "repr in a list": lambda text: repr([text, "'"]),
    "ascii": ascii,
    "bytes": lambda text: repr(text.encode("latin-1", "replace")) if text.isascii() else text,
    "html": html.escape,
    "xml attribute": lambda text: xml_escape(text, {'"': "&quot;", "\n": "&#10;"}),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 urlsafe": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 quoted": lambda text: urllib.parse.quote(base64.b64encode(text.encode()).decode(), safe=""),
    "basic, 1": lambda text: base64.b64encode(f"synapse0:{text}".encode()).decode(),
    "basic, 2": lambda text: base64.b64encode(f"synapse01:{text}!!".encode()).decode(),
    "basic, 3": lambda text: base64.urlsafe_b64encode(f"synapse012:{text}?".encode()).decode(),
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("value", [PLAIN, NASTY, "????>>>>~~~~~", "a b c d e f", "tab\tand\nline", "\\\\\\\\\\\\\\\\"])
def test_a_value_is_found_in_every_spelling(value: str, encoder: str) -> None:
    redactor = Redactor()
    redactor.register(value)
    written = ENCODERS[encoder](value)
    for around in ("{}", 'x "{}" y', "https://u:{}@host/", "k={}&z=1"):
        redacted = redactor.redact(around.format(written))
        assert "<a>" in redacted
        assert value not in redacted


@settings(max_examples=200, deadline=None)
@given(
    st.text(min_size=8, max_size=24).filter(lambda text: len(text.strip()) >= 8),
    st.sampled_from(sorted(ENCODERS)),
)
def test_any_value_is_found_in_every_spelling(value: str, encoder: str) -> None:
    redactor = Redactor()
    redactor.register(value)
    if not redactor.weak:
        assert "<a>" in redactor.redact(ENCODERS[encoder](value.strip()))


class TestTokens:
    def test_they_count_by_first_appearance_and_stay(self) -> None:
        redactor = Redactor()
        for value in ("first-secret", "second-secret", "third-secret"):
            redactor.register(value)
        assert redactor.redact("second-secret is not third-secret") == "<a> is not <b>"
        assert redactor.redact("first-secret, third-secret") == "<c>, <b>"
        assert redactor.token("second-secret") == "<a>"

    def test_equal_values_are_seen_to_be_equal(self) -> None:
        redactor = Redactor()
        redactor.register(Secret(PLAIN), "a/password")
        redactor.register(PLAIN + "\n", "b/password")
        assert redactor.redact(f"{PLAIN} {base64.b64encode(PLAIN.encode()).decode()}") == "<a> <a>"

    def test_there_are_enough_of_them(self) -> None:
        redactor = Redactor()
        values = [f"secret-number-{n:03}" for n in range(30)]
        for value in values:
            redactor.register(value)
        assert redactor.redact(" ".join(values)).endswith("<z> <aa> <ab> <ac> <ad>")

    def test_the_longest_value_wins(self) -> None:
        redactor = Redactor()
        redactor.register("password1")
        redactor.register("password1-and-more")
        assert redactor.redact("password1-and-more password1") == "<a> <b>"

    def test_a_token_is_spelled_as_the_format_wants_it(self) -> None:
        redactor = Redactor()
        redactor.register(PLAIN)
        assert redactor.redact(f"<x y='{PLAIN}'/>", html.escape) == "<x y='&lt;a&gt;'/>"

    def test_the_lines_of_a_key_are_secrets_by_themselves(self) -> None:
        body = base64.b64encode(bytes(range(96))).decode()
        key = f"-----BEGIN PRIVATE KEY-----\n{body[:64]}\n{body[64:]}\n-----END PRIVATE KEY-----\n"
        redactor = Redactor()
        redactor.register(key)
        assert redactor.redact(f"E   {body[:64]}\nE   {body[64:]}") == "E   <a>\nE   <a>"
        assert redactor.redact("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"


class TestWeak:
    def test_short_and_public_values_stay_and_are_listed(self) -> None:
        redactor = Redactor(public=["matrix-postgresql"])
        redactor.register("synapse", "synapse-secrets/DB_PASSWORD")
        redactor.register("Matrix-PostgreSQL", "redis-password/password")
        redactor.register("CHANGEME")
        redactor.register("", "empty")
        assert redactor.redact("synapse on matrix-postgresql: CHANGEME") == "synapse on matrix-postgresql: CHANGEME"
        assert redactor.weak == (
            "synapse-secrets/DB_PASSWORD is not hidden in reports: it is shorter than 8 characters",
            "redis-password/password is not hidden in reports: it equals a public name",
            "a value is not hidden in reports: it equals a public name",
        )

    def test_a_name_may_turn_out_to_be_public_later(self) -> None:
        redactor = Redactor()
        redactor.register("haproxy-client")
        assert redactor.redact("haproxy-client") == "<a>"
        redactor.make_public("haproxy-client")
        assert redactor.redact("haproxy-client") == "haproxy-client"


@dataclasses.dataclass(frozen=True, slots=True)
class Leaf:
    text: str
    status: Status
    number: int = 1


def test_scrub_reaches_every_string_and_keeps_the_shape() -> None:
    redactor = Redactor()
    redactor.register(PLAIN)
    leaf = Leaf(f"is {PLAIN}", Status.FAILED)
    assert redactor.scrub((leaf, {"k": [PLAIN]}, None)) == (
        Leaf("is <a>", Status.FAILED),
        {"k": ["<a>"]},
        None,
    )
    assert redactor.scrub(leaf).status is Status.FAILED


class TestWriter:
    def writer(self, *values: str) -> tuple[RedactedWriter, io.StringIO]:
        redactor = Redactor()
        for value in values:
            redactor.register(value)
        stream = io.StringIO()
        return RedactedWriter(stream, redactor), stream

    def test_a_secret_split_over_writes(self) -> None:
        writer, stream = self.writer(PLAIN)
        for character in f"password {PLAIN}\n":
            writer.write(character)
        assert stream.getvalue() == "password <a>\n"

    def test_a_secret_split_by_a_flush(self) -> None:
        writer, stream = self.writer(PLAIN)
        for character in f"password {PLAIN} end":
            writer.write(character)
            writer.flush()
        assert stream.getvalue() == "password <a> end"

    def test_what_cannot_be_a_secret_is_shown_at_once(self) -> None:
        writer, stream = self.writer(PLAIN)
        writer.write("....")
        assert stream.getvalue() == ""
        writer.flush()
        assert stream.getvalue() == "...."

    def test_a_secret_of_several_lines(self) -> None:
        value = "three words here\nand three more\nand the last"
        writer, stream = self.writer(value)
        for line in f"before\n{value}\nafter\n".splitlines(keepends=True):
            writer.write(line)
        assert stream.getvalue() == "before\n<a>\nafter\n"

    def test_nothing_is_lost_at_the_end(self) -> None:
        writer, stream = self.writer(PLAIN)
        writer.write(PLAIN[:7])
        writer.flush()
        assert stream.getvalue() == ""
        assert writer.release() is stream
        assert stream.getvalue() == PLAIN[:7]

    def test_close_closes_the_stream(self) -> None:
        writer, stream = self.writer(PLAIN)
        writer.write("end")
        writer.close()
        writer.close()
        assert stream.closed

    def test_a_terminal_that_cannot_show_a_character_gets_it_escaped(self) -> None:
        raw = io.BytesIO()
        writer = RedactedWriter(io.TextIOWrapper(raw, encoding="ascii"), Redactor())
        writer.write("a · b\n")
        writer.flush()
        assert raw.getvalue() == b"a \\xb7 b\n"

    def test_it_passes_for_a_text_file(self) -> None:
        writer, _ = self.writer()
        print("a", 1, file=writer)
        assert writer.writable()
        assert not writer.isatty()

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(st.sampled_from(["a", "correct-", "horse", "-battery", "\n", NASTY[:5], NASTY[5:], ""])),
        st.data(),
    )
    def test_however_it_is_cut_the_text_is_the_same(self, pieces: list[str], data: st.DataObject) -> None:
        writer, stream = self.writer(PLAIN, NASTY)
        whole = Redactor()
        whole.register(PLAIN)
        whole.register(NASTY)
        for piece in pieces:
            writer.write(piece)
            if data.draw(st.booleans()):
                writer.flush()
        writer.release()
        assert stream.getvalue() == whole.redact("".join(pieces))


def test_many_threads_agree_on_the_tokens() -> None:
    redactor = Redactor()
    told: list[str] = []

    def work(number: int) -> None:
        for n in range(20):
            redactor.register(f"secret-{n:04}-value")
        told.append(redactor.redact(" ".join(f"secret-{n:04}-value" for n in range(20))))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(told)) == 1
    assert "secret-" not in told[0]


def test_a_long_text_is_redacted_fast() -> None:
    redactor = Redactor()
    values = [base64.b64encode(f"{n * 7919:024}".encode()).decode() for n in range(150)]
    for value in values:
        redactor.register(value)
    line = "2026-06-01T12:00:00 synapse.http GET /_matrix/client/v3/sync?since=s123_456 200 0.013sec\n"
    text = line * 5000 + values[3]
    began = time.process_time()
    assert redactor.redact(text).endswith("<a>")
    assert time.process_time() - began < 3.0
