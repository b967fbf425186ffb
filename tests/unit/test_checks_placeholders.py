"""security.placeholders: each verdict, on the recorded lab with other values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess
from postflight.deployment.turn_parts import TurnServer, TurnSetup, TurnUse
from postflight.probes.placeholder_logins import Answer, PlaceholderLogin
from postflight.verdict.judge import Judge
from postflight.verdict.status import Nature, Status
from tests.unit import calling, recorded, relaying
from tests.unit.observations import MODEL, ask, only
from tests.unit.recorded import Json, item
from tests.unit.worlds import secrets

MAIN = next(each for each in MODEL.synapse if each.is_main)


def said(model: Deployment = MODEL, **others: Any) -> Judge:
    return ask("security.placeholders", deployment=model, **others)


def with_process(changed: SynapseProcess, *more: SynapseProcess) -> Deployment:
    rest = [changed if each.id == changed.id else each for each in MODEL.synapse]
    return replace(MODEL, synapse=(*rest, *more))


def configured(process: SynapseProcess, **config: Any) -> SynapseProcess:
    return replace(process, config={**(process.config or {}), **config})


def test_a_placeholder_in_a_live_secret() -> None:
    def change(raw: Json) -> None:
        held = next(each for each in raw["secrets"] if each["name"] == "key-vault-secrets")
        held["data"]["DJANGO_SECRET_KEY"] = "CHANGEME_SECURE_RANDOM_KEY"

    lab = recorded.changed(change)
    found = only(said(lab.deployment()))
    assert found.headline == "Secret key-vault-secrets/DJANGO_SECRET_KEY holds a placeholder (CHANGEME)"
    assert found.remedy == "set key-vault-secrets/DJANGO_SECRET_KEY anew, then restart what takes it"
    assert "SECURE" not in repr(found)


def test_a_variable_that_stands_in_a_spec() -> None:
    def change(raw: Json) -> None:
        env = item(raw, "Pod", "key-vault")["spec"]["containers"][0].setdefault("env", [])
        env.append({"name": "TOKEN", "value": "TOKEN_FROM_SECRET"})

    found = only(said(recorded.changed(change).deployment()))
    assert found.headline == "TOKEN in the spec of key-vault holds a placeholder (_FROM_SECRET)"


@pytest.mark.parametrize(("answer", "count"), [(Answer.REFUSED, 0), (Answer.SILENT, 0), (Answer.LET_IN, 1)])
def test_a_login_with_a_placeholder(answer: Answer, count: int) -> None:
    tried = PlaceholderLogin("postgresql/matrix/pg", "PostgreSQL pg", "role synapse", answer)
    pen = said(placeholder_logins=(tried,))
    assert len(pen.failures) == count
    assert ("postgresql/matrix/pg" in pen.seen) is (answer is not Answer.SILENT)
    assert all("lets role synapse in with the password CHANGEME" in each.headline for each in pen.failures)


STALE = replace(relaying.SERVER, secrets=(replace(relaying.THEIRS, stale=True),))
LATE = relaying.uses(MODEL, secret=replace(relaying.OURS, stale=True))
USES = relaying.uses(MODEL)


def turning(server: TurnServer, uses: tuple[TurnUse, ...]) -> Deployment:
    return replace(MODEL, turn=TurnSetup((server,), uses))


def test_a_secret_of_turn_that_was_changed_for_synapse_only() -> None:
    found = only(said(turning(relaying.SERVER, LATE)))
    assert found.headline == (
        "Secret synapse-secrets/TURN_SECRET was changed on one side only:"
        " Secret coturn-secrets/TURN_SHARED_SECRET has the value before"
    )


def test_a_secret_of_turn_that_was_changed_for_coturn_only() -> None:
    found = only(said(turning(STALE, USES)))
    assert found.headline.startswith("Secret coturn-secrets/TURN_SHARED_SECRET was changed on one side only")


def test_a_secret_that_is_changed_for_both_is_a_rotation() -> None:
    assert said(turning(STALE, LATE)).failures == []


def test_a_key_of_livekit_that_was_changed_for_the_jwt_service_only() -> None:
    calls = calling.with_calls(MODEL).calls
    service = calls.jwt_services[0]
    assert service.pair
    stale = replace(service, pair=replace(service.pair, stale=True))
    found = only(said(calling.with_calls(MODEL, jwt_services=(stale,))))
    assert "was changed on one side only" in found.headline
    assert found.subject == service.id


def test_a_password_of_redis_that_synapse_alone_would_have_after_a_restart() -> None:
    config = MAIN.config or {}
    later = {**config, "redis": {**config["redis"], "password": "another one"}}
    found = only(said(with_process(replace(MAIN, next_config=later))))
    assert found.headline.startswith("redis.password of Synapse was changed on one side only: requirepass of redis")


def test_a_process_that_signs_with_another_secret_than_the_others() -> None:
    found = only(said(with_process(configured(MAIN, macaroon_secret_key="another one"))))
    assert found.headline.startswith(f"{MAIN.name} has another macaroon_secret_key than synapse-")


def test_one_secret_for_two_purposes() -> None:
    form = (MAIN.config or {})["form_secret"]
    every = tuple(configured(each, registration_shared_secret=form) for each in MODEL.synapse)
    found = only(said(replace(MODEL, synapse=every)))
    assert found.headline == f"form_secret and registration_shared_secret of {MAIN.name} are the same value"


def test_a_secret_of_mains_that_li_has_too() -> None:
    other = configured(
        replace(MAIN, id="pod/matrix/synapse-li-0", side=Side.LI, pod=None, workload_name="synapse-li"),
        **{each: f"{each} of LI" for each in ("form_secret", "registration_shared_secret", "database")},
    )
    found = only(said(with_process(MAIN, other)))
    assert found.headline.endswith("have the same macaroon_secret_key: what opens one opens the other")


def test_a_secret_that_could_not_be_read_is_unknown() -> None:
    pen = said(secrets=secrets(unseen={"synapse-secrets": "no right: get secrets"}))
    assert (
        only(pen, Status.UNKNOWN).headline == "Secret matrix/synapse-secrets could not be read: no right: get secrets"
    )


def test_what_was_not_read_in_the_pods_is_told() -> None:
    held = replace(MODEL.placeholders, unread=(MAIN.id,))
    found = only(said(replace(MODEL, placeholders=held)), Status.WARNED)
    assert found.nature is Nature.UNPROVEN
