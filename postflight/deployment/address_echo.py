"""Containers that ask somebody on the internet which address they come from.

Source: coturn, docker/coturn (Dockerfile, docker-entrypoint.sh, detect-external-ip.sh; read at 4.6 to 4.7): its image's
own command asks OpenDNS, Google, Cloudflare and Akamai, which REAL_EXTERNAL_IP keeps it from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from postflight.deployment.rendering import Spec

#: Hosts that answer whoever asks with the asker's own address, by HTTP, DNS or STUN.
HOSTS = re.compile(
    r"(?i)(?<![\w.-])(?:[\w-]+\.)*(?:ifconfig\.(?:me|co|io)|icanhazip\.com|ipify\.org|ipinfo\.io|ident\.me|ipecho\.net"
    r"|checkip\.(?:amazonaws\.com|dyndns\.org)|(?:what(?:is)?my|my)(?:external)?ip(?:address)?\.(?:com|akamai\.com|info)"
    r"|wtfismyip\.com|seeip\.org|my-ip\.io|eth0\.me|ip-api\.com|ip\.sb|curlmyip\.(?:com|net)|wgetip\.com|trackip\.net"
    r"|bigdatacloud\.net|myip\.(?:dnsomatic\.com|opendns\.com)|o-o\.myaddr\.l\.google\.com|whoami\.(?:akamai\.net|cloudflare)"
    r"|stun\d?\.l\.google\.com|stun\.cloudflare\.com)(?![\w-]|\.\w)"
)
#: What coturn's image brings along for that, and the variable of older ones that has it done.
HELPER = re.compile(r"(?<![\w-])detect-external-ip(?:\.sh)?(?![\w-])")
SWITCH, GIVEN = "DETECT_EXTERNAL_IP", "REAL_EXTERNAL_IP"
OFF = ("", "no", "false", "0", "off")
#: Images whose own command asks.
ASKING = re.compile(r"(^|/)(coturn|instrumentisto)/coturn([:@]|$)")
SCRIPT = re.compile(r"\.(sh|bash|py|pl)$")


@dataclass(frozen=True, slots=True)
class Echo:
    """A container that asks for its address: ``asks`` is whom, or by which program; ``where`` that is written."""

    container: str
    init: bool
    asks: str
    where: str

    @property
    def who(self) -> str:
        return f"{'init container' if self.init else 'container'} {self.container}"


def echoes_of(spec: Spec) -> tuple[Echo, ...]:
    """Each container of a pod that asks, once."""
    first = [each["name"] for each in spec.raw.get("initContainers") or ()]
    found: dict[str, Echo] = {}
    for container in spec.containers():
        name = str(container["name"])
        for asks, where in _asking(spec, container):
            found.setdefault(name, Echo(name, name in first, asks, where))
    return tuple(found.values())


def _asking(spec: Spec, container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    given = [str(word) for part in ("command", "args") for word in container.get(part) or ()]
    variables = spec.environment(container)
    told = variables.get(GIVEN)
    helps = not (told and told.value)
    for where, text in _texts(spec, container, given):
        bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        if match := HOSTS.search(bare):
            yield match[0], where
        if helps and (match := HELPER.search(bare)):
            yield match[0], where
    switch = variables.get(SWITCH)
    if helps and switch and switch.value.casefold() not in OFF:
        yield "detect-external-ip", f"its variable {SWITCH}"
    if helps and not given and ASKING.search(str(container.get("image") or "")):
        yield "detect-external-ip", "the image's own command, as the spec gives none"


def _texts(spec: Spec, container: Mapping[str, Any], given: list[str]) -> Iterator[tuple[str, str]]:
    """What a container runs: its command, its variables, and the scripts that it has from ConfigMaps."""
    yield "its command", "\n".join(given)
    for name, variable in spec.environment(container).items():
        if not variable.secret:
            yield f"its variable {name}", variable.value
    for path, origin, text in spec.mounted(container):
        if text.startswith("#!") or SCRIPT.search(path) or any(path in word for word in given):
            yield origin, text
