"""The steps of a journey: each a request by the front door, with what was asked of its answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from postflight.cluster.threads import in_threads
from postflight.limits import Limit
from postflight.probes.visitor import Answer, Visitor
from postflight.secrets import Secret

Json = dict[str, Any]
#: Seconds between two looks at what only time may mend.
AGAIN = 0.2


class Late(str):
    """What is amiss with an answer, and may be no more in a moment: processes learn of things one after the other."""


#: What is amiss with an answer, "" for nothing.
Look = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Step:
    """One request and its answer. ``name`` says what for, ``route`` is its path as a rule of a proxy would have it.
    ``good``: it was answered as it should be; ``wrong`` says what is amiss with an answer that is none of an error,
    ``late`` that only time is: what should have come has not come yet."""

    name: str
    method: str
    route: str
    answer: Answer
    good: bool
    wrong: str = ""
    late: bool = False
    expected: str = "200"


class Stopped(Exception):
    """A step failed that the next ones need."""


@dataclass(slots=True)
class Trail:
    """The steps that were taken, in the order of their answers. ``token`` is that of whoever takes them, from the login
    on. Safe to use from several threads."""

    door: Visitor
    token: Secret = field(default_factory=lambda: Secret(""))
    steps: list[Step] = field(default_factory=list)

    def take(
        self,
        name: str,
        method: str,
        route: str,
        *parts: str,
        token: Secret | None = None,
        body: object = None,
        query: Mapping[str, str] | None = None,
        look: Look | None = None,
        limit: float = Limit.HTTP,
    ) -> Mapping[str, Any]:
        """One step, as the second session or with another ``token``. ``parts`` stand in the path where ``route`` has
        braces, ``look`` says what is amiss with the answer; what is late is asked for again. Raises Stopped where
        anything is amiss."""
        path = route.format(*(quote(each, safe="") for each in parts))
        until = time.monotonic() + min(Limit.SYNC, self.door.time_left)
        while True:
            answer = self.door.ask(method, path, token=token or self.token, body=body, query=query, limit=limit)
            said = answer.said.json
            wrong = look(said) if look and answer.said.status == 200 else ""
            if not isinstance(wrong, Late) or time.monotonic() > until:
                break
            time.sleep(AGAIN)
        good, late = answer.said.status == 200 and not wrong, isinstance(wrong, Late)
        self.steps.append(Step(name, method, route.replace("{}", "…"), answer, good, str(wrong), late))
        if not good:
            raise Stopped(name)
        return said

    def side_by_side(self, works: Sequence[Callable[[], object]]) -> list[bool]:
        """All of them at once; of each whether it came to its end. Raises what none of them should."""
        outcomes = in_threads(works, self.door.time_left + 1)
        for each in outcomes:
            if (error := each.exception()) and not isinstance(error, Stopped | TimeoutError):
                raise error
        return [each.exception() is None for each in outcomes]


def has(*names: str) -> Look:
    """What an answer lacks of these, in a few words."""

    def look(said: Mapping[str, Any]) -> str:
        missing = [name for name in names if not said.get(name)]
        return f"the answer has no {missing[0]}" if missing else ""

    return look


def within(said: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The object beneath these names; empty where there is none."""
    found: Any = said
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def listed(found: Any) -> list[Json]:
    """The objects in a list; none where it is no list."""
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
