"""Secret values: a type that never prints, and the redactor that everything leaving the process passes.

Nothing here knows where secrets come from. Whoever reads one registers it, under a name that may be
printed; the writers (terminal, log, report files) substitute whatever slipped into a text.
"""

from __future__ import annotations

import dataclasses
import enum
import hmac
import io
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NoReturn, TextIO, TypeVar, final

from postflight.spellings import Spellings

T = TypeVar("T")

#: Shorter values occur in ordinary text: to substitute them would blank the report.
SHORTEST: Final = 8

#: What reports are written in, and what people use as passwords all the same. Shorter words are weak
#: anyway; the names of a deployment are added by whoever discovers them.
WORDS: Final = frozenset(
    (
        *("autoscaling", "availability", "blocked_by", "change_me", "changeme", "connection", "database"),
        *("deployment", "evidence", "expected", "federation", "headline", "homeserver", "kubernetes"),
        *("namespace", "observed", "password", "platform", "postflight", "postgres", "postgresql"),
        *("replication", "security", "severity", "workload"),
    )
)


@final
class Secret:
    """A string that prints as ``<secret>`` everywhere; :meth:`reveal` is the only way to its value."""

    __slots__ = ("_value",)
    _value: str

    def __init__(self, value: str) -> None:
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    def __format__(self, spec: str) -> str:
        return format("<secret>", spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")


class Redactor:
    """Replaces registered values, in any usual spelling, by ``<a>``, ``<b>`` ... by first appearance.

    Equal values get the same token, so that equal secrets can be seen to be equal. Safe to use from
    many threads.
    """

    def __init__(self, public: Iterable[str] = ()) -> None:
        self._lock = threading.RLock()
        self._public = {name.casefold() for name in (*WORDS, *public)}
        self._names: dict[str, list[str]] = {}
        self._tokens: dict[str, str] = {}
        self._compiled: Spellings | None = None

    def register(self, value: str | Secret, name: str = "") -> None:
        """Know ``value`` from now on; ``name`` says where it comes from (``synapse-secrets/DB_PASSWORD``)."""
        text = _plain(value)
        if not text:
            return
        with self._lock:
            if text not in self._names:
                self._names[text] = []
                self._compiled = None
            if name and name not in self._names[text]:
                self._names[text].append(name)

    def make_public(self, *names: str) -> None:
        """Names that may be printed although someone uses one as a password (workloads, roles, databases)."""
        with self._lock:
            self._public.update(name.casefold() for name in names)
            self._compiled = None

    @property
    def weak(self) -> tuple[str, ...]:
        """A line for each registered value that is too short, or too public, to be substituted. It
        names where the value comes from and never says the value."""
        with self._lock:
            found = [(names or ["a value"], self._weakness(value)) for value, names in self._names.items()]
        lines = [f"{name} is not hidden in reports: {why}" for names, why in found if why for name in names]
        return tuple(dict.fromkeys(lines))

    def token(self, value: str | Secret) -> str:
        """The token that stands for ``value``, weak ones included; it counts as its first appearance."""
        self.register(value)
        with self._lock:
            return self._token(_plain(value))

    def redact(self, text: str, spell: Callable[[str], str] = str) -> str:
        """``text`` with every registered value replaced; ``spell`` writes a token in the text's own
        format (``html.escape`` where the text is XML)."""
        spellings = self._spellings()
        if spellings.pattern is None:
            return text

        def substitute(match: re.Match[str]) -> str:
            with self._lock:
                return spell(self._token(spellings.owners[(match.lastindex or 1) - 1]))

        return spellings.pattern.sub(substitute, text)

    def scrub(self, value: T) -> T:
        """``value`` with every string in it redacted, through dataclasses, tuples, lists and mappings."""
        return self._scrub(value)  # type: ignore[return-value]  # same shape, not provable

    def unfinished(self, text: str) -> int:
        """How many characters at the end of ``text`` may be the beginning of a registered value."""
        return self._spellings().unfinished(text)

    def _scrub(self, value: object) -> object:
        match value:
            case enum.Enum():
                return value
            case str():
                return self.redact(value)
            case tuple():
                return tuple(map(self._scrub, value))
            case list():
                return list(map(self._scrub, value))
            case Mapping():
                return {self._scrub(key): self._scrub(item) for key, item in value.items()}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            changed = {f.name: self._scrub(getattr(value, f.name)) for f in dataclasses.fields(value)}
            return dataclasses.replace(value, **changed)
        return value

    def _weakness(self, value: str) -> str:
        if len(value) < SHORTEST:
            return f"it is shorter than {SHORTEST} characters"
        if value.casefold() in self._public:
            return "it equals a public name"
        return ""

    def _token(self, value: str) -> str:
        return self._tokens.setdefault(value, f"<{_letters(len(self._tokens))}>")

    def _spellings(self) -> Spellings:
        compiled = self._compiled
        if compiled is None:
            with self._lock:
                strong = [value for value in self._names if not self._weakness(value)]
                compiled = self._compiled = Spellings.of(strong)
        return compiled


class RedactedWriter(io.TextIOBase):
    """A text stream in front of another that lets nothing through unredacted.

    A line goes out when it is complete, so that a secret split over several writes is seen whole.
    ``flush`` sends the unfinished line too, except an end that may be the beginning of a secret.
    """

    def __init__(self, stream: TextIO, redactor: Redactor, spell: Callable[[str], str] = str) -> None:
        self._stream = stream
        self._redactor = redactor
        self._spell = spell
        self._pending = ""
        self._released = False
        self._write_lock = threading.RLock()

    def write(self, text: str, /) -> int:
        with self._write_lock:
            self._pending += text
            end = max(self._pending.rfind("\n"), self._pending.rfind("\r")) + 1
            self._send(end - self._redactor.unfinished(self._pending[:end]))
        return len(text)

    def flush(self) -> None:
        with self._write_lock:
            if self._stream.closed:
                return
            self._send(len(self._pending) - self._redactor.unfinished(self._pending))
            self._stream.flush()

    def release(self) -> TextIO:
        """Send everything that is pending and give the stream back, to outlive this one."""
        with self._write_lock:
            self._send(len(self._pending))
            self._stream.flush()
            self._released = True
            return self._stream

    def close(self) -> None:
        with self._write_lock:
            if not self.closed and not self._released and not self._stream.closed:
                self.release().close()
            super().close()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # read-only here
        return self._stream.encoding

    def _send(self, length: int) -> None:
        if length > 0:
            ready, self._pending = self._pending[:length], self._pending[length:]
            clean = self._redactor.redact(ready, self._spell)
            try:
                self._stream.write(clean)
            except UnicodeEncodeError as error:
                # Raised here it would meet a caller that wrote something else, and lose this line.
                self._stream.write(clean.encode(error.encoding, "backslashreplace").decode(error.encoding))


def _plain(value: str | Secret) -> str:
    """The text to look for: files often end in a line break that no message shows."""
    return (value.reveal() if isinstance(value, Secret) else value).strip()


def _letters(number: int) -> str:
    """0 is a, 25 is z, 26 is aa."""
    letters = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        letters = chr(ord("a") + digit) + letters
    return letters
