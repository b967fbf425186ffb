"""The check of recovery keys, given each kind of fault alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from checks.li import test_recovery_keys
from postflight.deployment.model import Deployment
from postflight.deployment.parts import SynapseProcess
from postflight.deployment.vault_parts import ApiKey
from postflight.probes.key_vault import VaultSaid
from postflight.probes.probe import BarredBy, NotTried
from postflight.secrets import Secret
from postflight.verdict.blame import resolve
from postflight.verdict.judge import Judge
from postflight.verdict.record import Statement
from postflight.verdict.status import Nature, Status
from tests.unit import li_world, vaulting
from tests.unit.observations import CHECKS, only
from tests.unit.vaulting import MODULE, NONE, OK, REFUSED, answers, imports, records, with_vault
from tests.unit.worlds import deployment, snapshot

MODEL = with_vault(li_world.model())
MAIN, WORKER, LI = (
    next(each for each in MODEL.synapse if each.workload_name == name) for name in ("hs", "hs-worker", "second")
)
NO_EXEC = NotTried("no right: create pods/exec in namespace matrix", BarredBy.RIGHT)
READ_ONLY = NotTried("needs --safety canary", BarredBy.SAFETY)


def judged(of: Deployment = MODEL, **others: Any) -> Judge:
    pen = Judge()
    given: dict[str, Any] = {
        "last_words": {},
        "module_imports": imports(of) if of.synapse else (),
        "key_vaults": answers(of) if of.vaults else (),
        "key_vault_records": records(of) if of.vaults else (),
    }
    function = test_recovery_keys.test_the_modules_are_there_and_the_key_vault_keeps_what_it_is_given_from_who_has_its_key_alone
    function(of, **(given | others), judge=pen)
    return pen


def down(process: SynapseProcess, of: Deployment = MODEL, **config: Any) -> Deployment:
    """The deployment with a process that crashes."""
    pod = process.pod
    assert pod
    crashed = replace(
        pod, ready=False, containers=tuple(replace(each, ready=False, running=False) for each in pod.containers)
    )
    changed = replace(process, pod=crashed, config={**(process.config or {}), **config})
    return replace(of, synapse=tuple(changed if each.id == process.id else each for each in of.synapse))


def test_all_is_well() -> None:
    pen = judged()
    assert pen.failures == []
    assert pen.seen == [
        f"module {MODULE}",
        vaulting.ID,
        f"API key from {vaulting.ORIGIN}",
        "record postflight in key-vault",
    ]


def test_it_is_absent_where_there_is_neither_module_nor_vault() -> None:
    pen = judged(li_world.model(), module_imports=())
    assert pen.absence == "no process of Synapse's has modules, and nothing here is a key vault"
    assert judged(deployment(snapshot()), module_imports=()).absence


def test_a_main_that_is_not_known_is_no_absence() -> None:
    of = replace(li_world.model(), synapse=(replace(MAIN, config=None, config_problem="exec refused"),))
    found = only(judged(of, module_imports=()), Status.UNKNOWN)
    assert found.headline == "which modules hs has is not known: exec refused"


class TestModules:
    @pytest.mark.parametrize(
        ("line", "why"),
        [
            (
                "ModuleNotFoundError: No module named 'synapse_recovery_key_storage'",
                "and its image has no Python module synapse_recovery_key_storage",
            ),
            (
                "AttributeError: module 'synapse_recovery_key_storage' has no attribute 'RecoveryKeyStorageModule'",
                "and synapse_recovery_key_storage has no RecoveryKeyStorageModule",
            ),
            (
                f"Error in configuration: Failed to parse config for module '{MODULE}'",
                "which refuses its configuration",
            ),
        ],
    )
    def test_one_that_is_not_there_ends_the_process(self, line: str, why: str) -> None:
        of = down(LI, modules=vaulting.modules())
        found = only(judged(of, last_words={LI.id: ("Traceback", line)}))
        assert found.headline == f"second cannot start: modules in its configuration names {MODULE}, {why}"
        assert (found.observed, found.stops, found.nature) == (line, (LI.id,), Nature.WRONG)

    def test_one_that_lies_within_a_package(self) -> None:
        of = down(LI, modules=[{"module": "keys.store.Module"}])
        said = {LI.id: ("ModuleNotFoundError: No module named 'keys'",)}
        assert "names keys.store.Module" in only(judged(of, last_words=said)).headline

    def test_a_process_that_is_down_for_another_reason_is_not_judged_where_another_could_be_asked(self) -> None:
        of = down(WORKER)
        said = {WORKER.id: ("ModuleNotFoundError: No module named 'other'",)}
        assert judged(of, last_words=said).failures == []

    def test_all_are_down(self) -> None:
        of = down(WORKER, down(MAIN))
        found = only(judged(of, module_imports=imports(of, problem="it is not up", down=True)))
        assert (found.nature, found.subject) == (Nature.UNAVAILABLE, MAIN.id)

    def test_those_whose_last_words_say_why_are_told_once(self) -> None:
        of = down(WORKER, down(MAIN))
        said = {MAIN.id: ("ModuleNotFoundError: No module named 'synapse_recovery_key_storage'",)}
        found = only(judged(of, last_words=said, module_imports=imports(of, problem="it is not up", down=True)))
        assert found.nature is Nature.WRONG

    def test_one_that_is_no_longer_there_is_warned_of(self) -> None:
        found = only(
            judged(module_imports=imports(MODEL, refused={MODULE: "ModuleNotFoundError: gone"})), Status.WARNED
        )
        assert found.headline == (
            f"hs and hs-worker would not start again: module {MODULE} is not to be had (ModuleNotFoundError: gone)"
        )

    def test_a_pod_that_could_not_be_asked(self) -> None:
        found = only(judged(module_imports=imports(MODEL, problem="no answer in time")), Status.UNKNOWN)
        assert "hs finds the modules" in found.headline

    def test_without_exec_it_is_as_good_as_the_processes_run(self) -> None:
        found = only(judged(module_imports=NO_EXEC), Status.WARNED)
        assert found.nature is Nature.UNPROVEN
        assert found.headline.startswith("hs and hs-worker run with modules; that these would be imported again")

    def test_without_exec_and_without_a_process_that_runs_it_is_not_known(self) -> None:
        assert only(judged(down(WORKER, down(MAIN)), module_imports=NO_EXEC), Status.UNKNOWN)


class TestKeyVault:
    def test_it_has_another_key(self) -> None:
        of = with_vault(li_world.model(), own=ApiKey(Secret("another-api-key"), vaulting.OWN))
        known = tuple((key, REFUSED) for key in of.vaults[0].keys)
        found = only(judged(of, key_vaults=answers(of, known=known), key_vault_records=()))
        assert found.headline == "key vault key-vault refuses the API key of hs and hs-worker: 401"
        assert found.cause == f"{vaulting.ORIGIN} differs from {vaulting.OWN}"
        assert found.observed == f"GET /records/postflight with the key from {vaulting.ORIGIN} is answered with 401"

    @pytest.mark.parametrize(
        ("own", "cause"),
        [
            (None, f"the key from {vaulting.ORIGIN} is not, or no longer, the key vault's"),
            (
                ApiKey(Secret(vaulting.KEY), vaulting.OWN),
                f"the key vault was started before {vaulting.OWN} was changed",
            ),
        ],
    )
    def test_why_it_refuses(self, own: ApiKey | None, cause: str) -> None:
        of = with_vault(li_world.model(), own=own)
        known = tuple((key, REFUSED) for key in of.vaults[0].keys)
        assert only(judged(of, key_vaults=answers(of, known=known))).cause == cause

    def test_it_opens_to_anybody(self) -> None:
        found = only(judged(key_vaults=answers(MODEL, stranger=OK)))
        assert found.headline.startswith("key vault key-vault gives records to whoever asks")

    @pytest.mark.parametrize("before", [NONE, REFUSED])
    def test_it_gives_a_record_that_is_there_to_anybody(self, before: VaultSaid) -> None:
        trip = records(MODEL, stranger=VaultSaid(200), given=True)
        found = only(judged(key_vaults=answers(MODEL, stranger=before), key_vault_records=trip))
        assert found.headline.startswith("key vault key-vault gives records to whoever asks")
        assert found.observed.endswith("is answered with 200")

    @pytest.mark.parametrize("beside", [NONE, REFUSED])
    def test_it_hides_a_record_that_is_there(self, beside: VaultSaid) -> None:
        trip = records(MODEL, stranger=beside)
        assert judged(key_vaults=answers(MODEL, stranger=NONE), key_vault_records=trip).failures == []

    def test_what_it_says_to_a_stranger_while_there_is_a_record_is_not_understood(self) -> None:
        trip = records(MODEL, stranger=OK)
        found = only(judged(key_vaults=answers(MODEL, stranger=NONE), key_vault_records=trip), Status.UNKNOWN)
        assert found.headline.endswith("while the record was there, is answered with 200")

    def test_that_no_record_was_there_to_be_hidden_is_said(self) -> None:
        pen = judged(key_vaults=answers(MODEL, stranger=NONE), key_vault_records=READ_ONLY)
        assert {each.nature for each in pen.failures} == {Nature.UNPROVEN}
        assert pen.failures[0].headline.endswith("is answered with 404, and no record was there")

    def test_what_it_says_to_a_stranger_is_not_understood(self) -> None:
        assert only(judged(key_vaults=answers(MODEL, stranger=VaultSaid(500))), Status.UNKNOWN)

    @pytest.mark.parametrize("health", [VaultSaid(503), VaultSaid(problem="refused")])
    def test_it_is_not_there(self, health: VaultSaid) -> None:
        found = only(judged(key_vaults=answers(MODEL, health=health)))
        assert found.headline.startswith("key vault key-vault is not there for hs and hs-worker: ")
        assert (found.nature, found.subject) == (Nature.UNAVAILABLE, vaulting.ID)
        assert f"missing/{vaulting.WORKLOAD}" in found.needs

    def test_its_silence_is_blamed_on_what_stops_its_pods(self) -> None:
        pen, beneath = judged(key_vaults=answers(MODEL, health=VaultSaid(503))), Judge()
        beneath.wrong(vaulting.WORKLOAD, "the password is refused", stops=(vaulting.WORKLOAD,))
        metas = [CHECKS[id].__check__ for id in ("database.login", "li.recovery_keys")]  # type: ignore[attr-defined]
        said = [Statement(meta, (), tuple(each.failures), "") for meta, each in zip(metas, (beneath, pen), strict=True)]
        depends = {vaulting.ID: (vaulting.WORKLOAD,)}
        assert [each.status for each in resolve(said, depends).results] == [Status.FAILED, Status.BLOCKED]

    def test_another_service_answers(self) -> None:
        assert only(judged(key_vaults=answers(MODEL, health=NONE))).nature is Nature.WRONG

    def test_it_could_not_be_asked(self) -> None:
        found = only(judged(key_vaults=answers(MODEL, unasked="it is outside the cluster")), Status.UNKNOWN)
        assert found.headline.endswith("could not be asked: it is outside the cluster")

    def test_nobody_says_how_it_is_asked(self) -> None:
        of = with_vault(li_world.model(), requests=None)
        found = only(judged(of), Status.WARNED)
        assert (found.nature, found.remedy) == (Nature.UNPROVEN, test_recovery_keys.SAY_HOW)

    def test_no_module_speaks_to_it(self) -> None:
        of = replace(li_world.model(), vaults=(vaulting.vault(li_world.model(), keys=()),))
        own = of.vaults[0].own
        assert own
        found = only(judged(of, module_imports=(), key_vaults=answers(of, known=((own, NONE),))), Status.WARNED)
        assert found.headline.startswith("key vault key-vault runs, and no module of Synapse's speaks to it")

    def test_a_module_without_a_key(self) -> None:
        hidden = ApiKey(None, users=(MAIN.id,), hidden="the configuration of module x.Y has no API key")
        of = with_vault(li_world.model(), keys=(hidden,))
        found = only(judged(of, key_vaults=answers(of, known=())))
        assert found.headline == "hs cannot use key vault key-vault: the configuration of module x.Y has no API key"

    def test_an_answer_to_the_right_key_that_is_not_understood(self) -> None:
        for said, status in ((VaultSaid(400), Status.UNKNOWN), (VaultSaid(502), Status.FAILED)):
            known = tuple((key, said) for key in MODEL.vaults[0].keys)
            assert only(judged(key_vaults=answers(MODEL, known=known)), status)


class TestRecord:
    def test_it_is_not_taken(self) -> None:
        found = only(judged(key_vault_records=records(MODEL, stored=VaultSaid(403), fetched=None, same=False)))
        assert (found.headline, found.nature) == (
            "key vault key-vault does not take a record: it answers 403",
            Nature.WRONG,
        )

    def test_it_cannot_take_it_now(self) -> None:
        silent = records(MODEL, stored=VaultSaid(problem="no answer in time"), fetched=None, same=False)
        assert only(judged(key_vault_records=silent)).nature is Nature.UNAVAILABLE

    @pytest.mark.parametrize(("fetched", "why"), [(OK, "other bytes come back"), (NONE, "it is answered with 404")])
    def test_it_does_not_come_back(self, fetched: VaultSaid, why: str) -> None:
        found = only(judged(key_vault_records=records(MODEL, fetched=fetched, same=False)))
        assert found.headline == f"key vault key-vault does not give back the record that it took: {why}"

    def test_one_that_stays_is_told(self) -> None:
        found = only(judged(key_vault_records=records(MODEL, removed=VaultSaid(405))), Status.WARNED)
        assert found.headline.startswith("record postflight stays in key vault key-vault")

    def test_one_that_is_never_removed_is_written_over(self) -> None:
        assert judged(key_vault_records=records(MODEL, removed=None)).failures == []

    def test_read_only_stores_nothing(self) -> None:
        found = only(judged(key_vault_records=READ_ONLY), Status.WARNED)
        assert found.nature is Nature.UNPROVEN

    def test_without_the_right_it_is_not_known(self) -> None:
        assert only(judged(key_vault_records=NO_EXEC), Status.UNKNOWN)

    def test_nobody_says_how_one_is_stored(self) -> None:
        assert only(judged(key_vault_records=()), Status.WARNED).remedy == test_recovery_keys.SAY_HOW
