"""Whether a homeserver is meant to federate: by the settings, else by what is found.

Source: synapse/config/federation.py and synapse/federation/transport/server/_base.py, 1.163: who is not named in
``federation_domain_whitelist`` is neither let in nor asked anything, so an empty one shuts both ways; without the key
everybody is. synapse/app/homeserver.py: without the resource ``federation`` a listener serves no other server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from postflight.deployment.federation import LIST, is_sender
from postflight.deployment.listeners import resources_of
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess, names_of
from postflight.words import several

WHITELIST = "federation_domain_whitelist"
#: Any request of another server's, and one that changes nothing: an event that there is not.
EVENT = "/_matrix/federation/v1/event/$postflight-nothing"


@dataclass(frozen=True, slots=True)
class Choice:
    """``said`` is the settings' word, None where they say nothing; ``found`` what discovery proposes, ``why`` from
    what, and ``against`` what speaks against that. True is on."""

    said: bool | None
    found: bool
    why: str
    against: str = ""

    @property
    def on(self) -> bool:
        """What a run goes by: the settings, else the proposal."""
        return self.found if self.said is None else self.said

    @property
    def reason(self) -> str:
        """Why that is so, to follow "federation is off" or "on"."""
        if self.said is None:
            return self.why
        return "the settings say so" + (f", and {self.why}" if self.said == self.found else "")

    @property
    def note(self) -> str:
        """What a report says of a proposal that nobody has confirmed; "" where the settings say it, and where all that
        is found is for a federation that is on: then its check says the rest."""
        if self.said is not None or (self.found and not self.against):
            return ""
        held = f", though {self.against}" if self.against else ""
        word = "on" if self.found else "off"
        return (
            f"federation is taken to be {word}, as {self.why}{held}; the settings can say it (federation: on, or off)"
        )


def choice_of(deployment: Deployment) -> Choice:
    """By the main process where its whitelist is empty. Otherwise federation counts as off only where nothing at all is
    there for it: no listener, no sender, no route; and as on where somebody's configuration is not known."""
    said = deployment.federates
    mine = [each for each in deployment.synapse if each.side is Side.MAIN]
    for main in mine:
        if main.is_main and lets_nobody_in(main):
            return Choice(said, False, f"{WHITELIST} of {main.workload_name} is empty")
    if unread := [each for each in mine if each.config is None]:
        return Choice(said, True, f"the configuration of {names_of(unread)} is not known")
    on, off = _signs(deployment, mine)
    if not on:
        return Choice(said, False, "; ".join(off) or "there is no process of Synapse")
    return Choice(said, True, "; ".join(on), "; ".join(off))


def lets_nobody_in(process: SynapseProcess) -> bool:
    """Whether a process, by its own configuration, deals with no other server at all."""
    named = allowed(process)
    return named is not None and not named


def allowed(process: SynapseProcess) -> tuple[str, ...] | None:
    """The servers that a process deals with; None for all of them. What is no list keeps Synapse from starting."""
    given: Any = (process.config or {}).get(WHITELIST)
    return tuple(map(str, given)) if isinstance(given, list | tuple | dict | str) else None


def _signs(deployment: Deployment, mine: Sequence[SynapseProcess]) -> tuple[list[str], list[str]]:
    """What is there for federation, and what is not, a phrase each."""
    listening = [each for each in mine if "federation" in resources_of(each)]
    sending = [each for each in mine if is_sender(each)]
    leading = [each.name for each in deployment.proxies if each.federation]
    signs = [
        (
            f"listening for other servers: {names_of(listening)}" if listening else "",
            "no process listens for other servers",
        ),
        (f"sending to them: {names_of(sending)}" if sending else "", f"none sends to them (send_federation, {LIST})"),
    ]
    if deployment.proxies:
        signs.append((f"leading them here: {several(leading)}" if leading else "", "no proxy has a frontend for them"))
    return [on for on, _ in signs if on], [off for on, off in signs if not on]
