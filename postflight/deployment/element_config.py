"""What a configuration file of Element Web says, and what Element takes where it says nothing.

Sources: element-web 1.12, docs/config.md, src/SdkConfig.ts (``DEFAULTS``), src/models/Call.ts, src/vector/getconfig.ts,
src/components/structures/MatrixChat.tsx (``setPageSubtitle``: the title begins with the brand).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

#: Each key, in snake case or in the camel case of older files, that says where the homeserver is.
HOMESERVER = ("default_server_config", "default_hs_url", "default_server_name")
#: Element asks these hosts where its file does not say otherwise; they are outside of every deployment.
DEFAULTS = {
    "integrations_ui_url": "scalar.vector.im",
    "integrations_rest_url": "scalar.vector.im",
    "jitsi.preferred_domain": "meet.element.io",
}
#: What a person follows by a click, or a machine quotes: nothing is asked there by itself.
LINKS = (
    *("help_url", "help_encryption_url", "help_key_storage_url", "privacy_policy_url", "permalink_prefix"),
    *("terms_and_conditions_links", "auth_footer_links", "mobile_builds", "desktop_builds", "feedback"),
    *("logout_redirect_url", "oidc_metadata"),
)
#: Values that are a bare host, or a list of such.
HOSTS = ("preferred_domain", "room_directory.servers", "default_server_name", "api_host")
#: Keys whose own names are addresses.
BY_ADDRESS = ("enable_presence_by_hs_url", "oidc_static_clients")
URL = re.compile(r"^(?:https?|wss?):", re.IGNORECASE)
HOST = re.compile(r"^(?=.{1,253}$)[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?$", re.IGNORECASE)
#: Element's name where no other is given.
BRAND = "Element"
THEMES = ("light", "dark", "light-high-contrast", "system")

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Named:
    """A host that a file names, under which ``key``. ``link``: nothing is asked there by itself. ``silent``: the file says
    nothing, and Element takes that host."""

    key: str
    host: str
    link: bool = False
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Homeserver:
    """Where Element logs in: ``base_url``, or what it finds by ``server_name``. ``problem`` says why it does not know."""

    base_url: str = ""
    server_name: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """What a person sees of a page at all times: the name that its title begins with, its banner and its colours."""

    title: str
    brand: str
    banner: str = ""
    theme: str = ""

    @property
    def shown(self) -> str:
        """The title as a browser has it: Element's own program puts its brand there."""
        return self.brand or self.title


def read(text: str) -> tuple[Json, str]:
    """The object, and "" or why there is none."""
    try:
        found = json.loads(text)
    except ValueError as error:
        return {}, f"no JSON: {error}"
    return (found, "") if isinstance(found, dict) else ({}, f"JSON, but a {type(found).__name__} and no object")


def is_one(text: str) -> bool:
    """Whether a text is a configuration of Element's, and not of its call page, which names a homeserver as well."""
    found, _ = read(text)
    return "livekit" not in found and any(key in found for key in (*HOMESERVER, "element_call", "integrations_ui_url"))


def homeserver(config: Json) -> Homeserver:
    """A name is looked up first, where one stands beside an address; the oldest way stands alone."""
    said = [key for key in HOMESERVER if config.get(key)]
    if len(said) > 1 and "default_hs_url" in said:
        return Homeserver(problem=f"it says so in more than one way ({', '.join(said)}), and Element does not start")
    if not said:
        return Homeserver(problem=f"it has none of {', '.join(HOMESERVER)}, and Element does not start")
    if said == ["default_hs_url"]:
        return Homeserver(_stripped(config["default_hs_url"]))
    if said == ["default_server_name"]:
        return Homeserver(server_name=str(config["default_server_name"]))
    held = config["default_server_config"]
    own = held.get("m.homeserver") if isinstance(held, dict) else None
    if not isinstance(own, dict) or not own.get("base_url"):
        return Homeserver(problem="its default_server_config has no m.homeserver.base_url, and Element does not start")
    return Homeserver(_stripped(own["base_url"]), str(own.get("server_name") or ""))


def call_url(config: Json) -> str:
    """The address of Element Call; "" where Element takes the one that is packed with it."""
    return str(value(config, "element_call.url") or "")


def value(config: Json, dotted: str) -> Any:
    """What stands under a path of keys, in either spelling; None where nothing does."""
    found: Any = config
    for key in dotted.split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(key, found.get(_camel(key)))
    return found


def named(config: Json) -> tuple[Named, ...]:
    """Every host that Element may ask or offer by this file, each once under each key."""
    return tuple(dict.fromkeys((*_named(config, ()), *_by_default(config))))


def _named(found: Any, keys: tuple[str, ...]) -> Iterator[Named]:
    if isinstance(found, dict):
        for key, each in found.items():
            if keys and keys[-1] in BY_ADDRESS and (host := _host(str(key), bare=True)):
                yield Named(".".join(keys), host)
            yield from _named(each, (*keys, _snake(str(key))))
    elif isinstance(found, list):
        for each in found:
            yield from _named(each, keys)
    elif isinstance(found, str) and found:
        dotted = ".".join(keys)
        bare = any(dotted == each or dotted.endswith(f".{each}") for each in HOSTS)
        if host := _host(found, bare=bare):
            yield Named(dotted, host, link=any(each in dotted for each in LINKS))


def _by_default(config: Json) -> Iterator[Named]:
    defaults = value(config, "setting_defaults")
    features: Json = defaults if isinstance(defaults, dict) else {}
    widgets, voip = features.get("UIFeature.widgets") is not False, features.get("UIFeature.voip") is not False
    only_calls = value(config, "element_call.use_exclusively") is True
    for key, host in DEFAULTS.items():
        needed = (voip and not only_calls) if key.startswith("jitsi") else widgets
        if needed and not _is_said(config, key):
            yield Named(key, host, silent=True)


def _is_said(config: Json, dotted: str) -> bool:
    """Whether a key stands there at all: one that is empty, or null, turns the thing off."""
    *above, last = dotted.split(".")
    held = value(config, ".".join(above)) if above else config
    return isinstance(held, dict) and (last in held or _camel(last) in held)


def _host(text: str, *, bare: bool) -> str:
    """The host of an address; of a bare host, where one may stand. "" for what names none: a path, a word."""
    try:
        if URL.match(text):
            return (urlsplit(text).hostname or "").lower()
        return (urlsplit(f"//{text}").hostname or "").lower() if bare and HOST.match(text) else ""
    except ValueError:
        return ""


def look(config: Json, title: str) -> Look:
    """What a page shows with this file; ``title`` is its HTML's."""
    modules = config.get("io.element.element-web-modules.banner")
    banner = json.dumps(modules, sort_keys=True) if modules else ""
    theme = str(value(config, "default_theme") or value(config, "setting_defaults.theme") or "")
    return Look(title, str(config.get("brand") or BRAND), banner, theme)


def allows(allowed: Collection[str], host: str) -> bool:
    """``*.example.org`` allows all below it."""
    return host in allowed or any(each.startswith("*.") and host.endswith(each[1:]) for each in allowed)


def _stripped(address: Any) -> str:
    return str(address).rstrip("/")


def _camel(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(each.capitalize() for each in rest)


def _snake(key: str) -> str:
    return (
        key
        if "." in key or key.isupper()
        else re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: f"_{match[1].lower()}", key)
    )
