"""An ordinary user's requests by the front door, one after the other and of each kind apart, while parts come and go.

Sources: Client-Server API 1.11 (sync, send, account data, media); synapse/config/ratelimiting.py, 1.163: a message
every five seconds stays within ``rc_message``, and account data have no limit.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import quote

from postflight.cluster.threads import spawn
from postflight.limits import Limit
from postflight.polling import NotYet, TimedOut, wait_for
from postflight.probes.canary_user import CLIENT, ProbeRoom, ProbeUser
from postflight.probes.http import Said
from postflight.probes.matrix import LIMITED
from postflight.probes.outages import Asked, Outage, arrivals, outage
from postflight.probes.probe import Unseen
from postflight.probes.user_doors import Caller, Entrance

VERSIONS = "/_matrix/client/versions"
NOTE = "im.postflight.disruption"
#: Seconds from the beginning of one request to that of the next of its kind.
PACE, SENDING = 0.5, 5.0
#: For so long all has to be well before a part is taken away.
WELL = 2.0
ARRIVAL = "arrival in sync"
#: What a sync is to bring: nothing but the number that was written last.
FILTER = json.dumps(
    {
        "account_data": {"types": [NOTE]},
        "presence": {"types": []},
        "room": {"timeline": {"limit": 1}, "state": {"types": []}, "ephemeral": {"types": []}},
    }
)
#: What is wrong with an answer, "" for nothing.
Look = Callable[[Said], str]


def answered(said: Said) -> str:
    """What came in the place of the right answer; "" for that."""
    return "" if said.status == 200 else said.short or "no answer"


@dataclass(slots=True)
class Kind:
    """A kind of request. ``ask`` sends one, and says what came in the place of the right answer, None where nothing can be
    said; ``pace`` are the seconds from one to the next that is right, and a refusal is followed up sooner. ``heard`` is when
    the last was sent that was not refused, ``wrong`` what came of the last of all."""

    name: str
    ask: Callable[[Caller], str | None]
    pace: float = PACE
    asked: list[Asked] = field(default_factory=list)
    heard: float = 0.0
    wrong: str = ""


@dataclass(slots=True)
class Stream:
    """The requests of ``room``'s user, from :meth:`begin` to :meth:`end`. ``more`` are kinds beside the ordinary ones."""

    entrance: Entrance
    room: ProbeRoom
    more: tuple[Kind, ...] = ()
    kinds: list[Kind] = field(default_factory=list)
    sent: list[tuple[int, float]] = field(default_factory=list)
    seen: list[tuple[int, float]] = field(default_factory=list)
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    began: float = 0.0
    _since: str = ""
    _over: threading.Event = field(default_factory=threading.Event)
    _asking: list[Future[None]] = field(default_factory=list)

    @property
    def user(self) -> ProbeUser:
        return self.room.user

    def begin(self) -> None:
        """Send until each kind has been answered rightly for a while. Raises Unseen where one is not."""
        self.kinds = [
            Kind("versions", lambda caller: answered(caller.ask("GET", VERSIONS))),
            Kind("account data", self._write),
            Kind("sync", self._sync),
            Kind("send", self._send, SENDING),
            *self.more,
        ]
        self._asking = [spawn(partial(self._run, each), f"user {each.name}") for each in self.kinds]
        try:
            wait_for(self._all_well, limit=Limit.QUIET, every=0.2)
        except TimedOut as error:
            self.stop()
            raise Unseen(f"an ordinary user is not served before anything is taken away: {error}") from error
        self.began = time.monotonic()

    def stop(self) -> None:
        """Returns once nothing is under way any more."""
        self._over.set()
        for each in self._asking:
            with suppress(Exception):
                each.result(2 * Limit.ANSWER)

    def unwell(self, since: float = 0.0) -> str:
        """The first kind whose requests are not answered rightly at the moment, or none that was sent ``since`` a time; ""
        for none."""
        for each in self.kinds:
            if each.wrong:
                return f"{each.name}: {each.wrong}"
            if not each.heard or each.heard < since:
                return f"{each.name}: no answer yet"
        late = arrivals(list(self.sent[:-4]), list(self.seen))
        return "what is written does not arrive in sync" if any(each.said for each in late) else ""

    def end(self) -> tuple[Outage, ...]:
        """Stop, and say what was met since all was well."""
        until = time.monotonic()
        self.stop()
        sent = [each for each in list(self.sent) if self.began <= each[1] < until - PACE]
        arrived = arrivals(sent, list(self.seen))
        kinds = {each.name: [one for one in list(each.asked) if one.ended >= self.began] for each in self.kinds}
        found = [outage(name, asked, until) for name, asked in kinds.items()]
        return (*found, outage(ARRIVAL, arrived, until))

    def _all_well(self) -> None:
        if why := self.unwell():
            raise NotYet(why)
        quick = [each.asked for each in self.kinds if each.asked and each.pace <= PACE]
        if any(asked[-1].ended - asked[0].began < WELL for asked in quick):
            raise NotYet("it has just begun")

    def _run(self, kind: Kind) -> None:
        caller = Caller(self.entrance)
        while not self._over.is_set():
            began = time.monotonic()
            said = kind.ask(caller)
            ended = time.monotonic()
            # One that is limited by rate was answered by who is alive, and proves no more than that: neither is what was
            # right lost by it, nor what was wrong mended.
            if said is not None:
                kind.asked.append(Asked(began, ended, said))
                kind.wrong = said
            kind.heard = kind.heard if kind.wrong else began
            pace = PACE if said else kind.pace
            self._over.wait(max(0.05, began + pace - time.monotonic()))
        caller.close()

    def _write(self, caller: Caller) -> str:
        number = (self.sent[-1][0] if self.sent else 0) + 1
        where = f"{CLIENT}/user/{quote(self.user.user_id)}/account_data/{NOTE}"
        body = {"number": number, "stream": self.name}
        said = answered(caller.ask("PUT", where, token=self.user.token, body=body))
        if not said:
            self.sent.append((number, time.monotonic()))
        return said

    def _sync(self, caller: Caller) -> str:
        query = {"filter": FILTER, "timeout": "0", "set_presence": "offline"}
        if self._since:
            query["since"] = self._since
        said = caller.ask("GET", f"{CLIENT}/sync", token=self.user.token, query=query)
        if wrong := answered(said):
            return wrong
        self._since = str(said.json.get("next_batch") or "")
        for each in (said.json.get("account_data") or {}).get("events") or ():
            content = each.get("content") or {}
            if each.get("type") == NOTE and content.get("stream") == self.name:
                self.seen.append((int(content.get("number") or 0), time.monotonic()))
        return "" if self._since else "the answer has no next_batch"

    def _send(self, caller: Caller) -> str | None:
        nonce = f"postflight{secrets.token_hex(6)}"
        where = f"{CLIENT}/rooms/{quote(self.room.room_id)}/send/m.room.message/{nonce}"
        body = {"msgtype": "m.text", "body": f"postflight {nonce}"}
        said = caller.ask("PUT", where, token=self.user.token, body=body)
        return None if said.status == LIMITED else answered(said)
