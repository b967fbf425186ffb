"""Whom a canary run acts by: one that it registers, or the account that the settings give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from postflight.account import NOBODY, Account
from postflight.cluster.access import Access, Way
from postflight.deployment.model import Deployment
from postflight.probes.canary_user import ALIAS, CLIENT, REGISTER, Hindered, ProbeUser, canary_user
from postflight.probes.own import Turn
from postflight.secrets import Redactor, Secret
from postflight.traces import Traces
from tests.unit.loopback import Reply, Request, answering, api_to, closed_port
from tests.unit.observations import MODEL

MAIN = next(each for each in MODEL.synapse if each.is_main)
NAME = "matrix.lab.test"
TOKEN = Account(token=Secret("a-token-that-somebody-gave"))
PASSWORD = Account(user="checker", password=Secret("what-checker-was-given"))
Json = dict[str, Any]


@dataclass
class Homeserver:
    """``users`` are its users' passwords by localpart, ``tokens`` whose each token is; ``asked`` what was asked."""

    users: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    more: Json = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, asked: Request) -> Reply:
        path = asked.path.removeprefix(CLIENT)
        self.asked.append(f"{asked.method} {path}")
        token = asked.authorization.removeprefix("Bearer ")
        match asked.method, path:
            case "GET", "/account/whoami":
                if token not in self.tokens:
                    return 401, {"errcode": "M_UNKNOWN_TOKEN", "error": "no"}
                return 200, {"user_id": self.tokens[token], **self.more}
            case "POST", "/login":
                local = asked.body["identifier"]["user"]
                if self.users.get(local) != asked.body["password"]:
                    return 403, {"errcode": "M_FORBIDDEN", "error": "no"}
                self.tokens["made-at-login"] = f"@{local}:{NAME}"
                return 200, {"user_id": f"@{local}:{NAME}", "access_token": "made-at-login"}
            case "POST", "/logout":
                del self.tokens[token]
                return 200, {}
            case "GET", "/_synapse/admin/v1/register":
                return 200, {"nonce": "n"}
            case "POST", "/_synapse/admin/v1/register":
                self.users[asked.body["username"]] = asked.body["password"]
                return 200, {}
        return 404, {"errcode": "M_UNRECOGNIZED"}


@contextmanager
def standing(homeserver: Homeserver, **config: Any) -> Iterator[Deployment]:
    """The lab with main at this homeserver, and with these settings in its configuration."""
    with answering(homeserver) as (port, _):
        assert MAIN.pod
        listener = {"port": port, "type": "http", "resources": [{"names": ["client"]}]}
        home = replace(
            MAIN,
            pod=replace(MAIN.pod, ip="127.0.0.1"),
            config={**(MAIN.config or {}), "listeners": [listener], **config},
        )
        yield replace(MODEL, synapse=(home,))


def had(
    homeserver: Homeserver, account: Account = NOBODY, redactor: Redactor | None = None, **config: Any
) -> tuple[ProbeUser | Hindered, list[str]]:
    """Who is had, and what was asked until all was cleaned up again."""
    traces = Traces("run")
    access = Access(api_to(closed_port()), Way.DIRECT)
    with standing(homeserver, **config) as model:
        found = canary_user(model, access, traces, redactor or Redactor(), account, Turn(()))
        assert traces.clean_up() == []
    return found, homeserver.asked


class TestATokenThatIsGiven:
    def test_is_used_as_it_is_and_never_logged_out(self) -> None:
        homeserver = Homeserver(tokens={TOKEN.token.reveal(): f"@checker:{NAME}"})
        user, asked = had(homeserver, TOKEN)
        assert isinstance(user, ProbeUser)
        assert asked == ["GET /account/whoami"]
        assert (user.user_id, user.token, user.by_token) == (f"@checker:{NAME}", TOKEN.token, True)
        assert homeserver.tokens

    def test_its_user_has_a_room_of_its_own(self) -> None:
        user, _ = had(Homeserver(tokens={TOKEN.token.reveal(): f"@checker:{NAME}"}), TOKEN)
        assert isinstance(user, ProbeUser)
        assert user.alias == f"{ALIAS}-checker"

    def test_that_has_ended(self) -> None:
        found, asked = had(Homeserver(), TOKEN)
        assert isinstance(found, Hindered)
        assert found.problem == "synapse-main does not know the given token (settings: probe_user): has it ended?"
        assert len(asked) == 1

    @pytest.mark.parametrize("more", [{"is_guest": True}, {"user_id": ""}])
    def test_of_nobody(self, more: Json) -> None:
        found, _ = had(Homeserver(tokens={TOKEN.token.reveal(): f"@checker:{NAME}"}, more=more), TOKEN)
        assert isinstance(found, Hindered)

    def test_where_another_service_has_the_accounts(self) -> None:
        homeserver = Homeserver(tokens={TOKEN.token.reveal(): f"@checker:{NAME}"})
        user, _ = had(homeserver, TOKEN, matrix_authentication_service={"enabled": True})
        assert isinstance(user, ProbeUser)


class TestAUserThatIsGiven:
    def test_is_logged_in_and_out(self) -> None:
        homeserver = Homeserver(users={"checker": PASSWORD.password.reveal()})
        redactor = Redactor()
        user, asked = had(homeserver, PASSWORD, redactor, registration_shared_secret=None)
        assert isinstance(user, ProbeUser)
        assert asked == ["POST /login", "POST /logout"]
        assert (user.name, user.password, user.by_token) == ("checker", PASSWORD.password, False)
        assert redactor.redact("made-at-login") == "<a>"
        assert homeserver.tokens == {}

    def test_that_is_refused_is_tried_once_and_nobody_is_registered(self) -> None:
        found, asked = had(Homeserver(users={"checker": "another"}), PASSWORD)
        assert isinstance(found, Hindered)
        assert found.problem == "synapse-main does not let the given user checker in (settings: probe_user): 403"
        assert asked == ["POST /login"]

    def test_where_another_service_has_the_logins(self) -> None:
        found, asked = had(Homeserver(), PASSWORD, experimental_features={"msc3861": {"enabled": True}})
        assert isinstance(found, Hindered)
        assert "name a token in the settings" in found.problem
        assert asked == []


class TestNobodyIsGiven:
    def test_one_is_registered_by_the_shared_secret(self) -> None:
        homeserver = Homeserver()
        user, asked = had(homeserver)
        assert isinstance(user, ProbeUser)
        assert (user.user_id, user.alias) == (f"@postflight:{NAME}", ALIAS)
        assert [each for each in asked if "register" in each] == [f"GET {REGISTER}", f"POST {REGISTER}"]
        assert homeserver.tokens == {}

    @pytest.mark.parametrize(
        ("config", "why"),
        [
            ({"registration_shared_secret": None}, "no registration_shared_secret of synapse-main is known"),
            (
                {"matrix_authentication_service": {"enabled": True}},
                "Matrix Authentication Service has the accounts, and no token is given",
            ),
        ],
    )
    def test_and_none_can_be_registered_the_remedy_is_said(self, config: Json, why: str) -> None:
        found, asked = had(Homeserver(), **config)
        assert isinstance(found, Hindered)
        assert found.problem.startswith(f"the probe user cannot be had: {why}")
        assert found.problem.endswith("in the settings: probe_user)")
        assert asked == []
