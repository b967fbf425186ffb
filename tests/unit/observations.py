"""What the probes would observe of the recorded lab, and what a check says of it: for the tests of the checks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from checks import test_coverage, test_leftovers
from checks.autoscaling import test_workers as test_autoscaling
from checks.availability import test_budgets, test_synapse_main
from checks.availability import test_front_door as test_ways_in
from checks.calls import test_candidates, test_matrixrtc, test_turn
from checks.clients import test_closed_doors, test_element_config, test_journey
from checks.database import test_connections, test_login, test_names, test_replication
from checks.federation import test_exactly_once
from checks.li import test_front_door, test_identity, test_main_database_rights, test_recovery_keys, test_retention
from checks.li import test_replication as test_li
from checks.media import test_antivirus, test_storage, test_workers
from checks.platform import (
    test_backups,
    test_certificates,
    test_clocks,
    test_monitoring,
    test_objects,
    test_operators,
    test_references,
    test_selectors,
    test_volumes,
    test_workloads,
)
from checks.redis import test_endpoint, test_memory
from checks.redis import test_replication as test_redis
from checks.routing import test_backends, test_public
from checks.security import test_network_policy, test_placeholders, test_replication_listener
from checks.storage import test_quorum
from checks.workers import (
    test_background,
    test_configuration,
    test_event_persisters,
    test_logs,
    test_rendered_config,
    test_signing_key,
    test_stream_writers,
)
from postflight.check import meta_of
from postflight.credential import NONE
from postflight.probes.background import BackgroundUpdates
from postflight.probes.custom_schemas import CustomSchemas
from postflight.probes.federation_counters import Sent
from postflight.probes.inside import InsideView
from postflight.probes.li import Said
from postflight.probes.li_front import LiFront
from postflight.probes.li_import import Imported
from postflight.probes.looks import Looks
from postflight.probes.metrics import Count
from postflight.probes.persister_rooms import PersistedEvents
from postflight.probes.probe import BarredBy, NotTried
from postflight.probes.redis import WriteProof
from postflight.probes.rendering import InitTroubles
from postflight.secrets import Redactor
from postflight.settings import Settings
from postflight.verdict.failure import Failure
from postflight.verdict.judge import Judge
from postflight.verdict.status import Status
from tests.unit import (
    autoscaling,
    backing,
    budgeting,
    calling,
    front,
    fronting,
    listening,
    looking,
    monitoring,
    networking,
    processes,
    recorded,
    relaying,
    routing,
    scanning,
    showing,
    stores,
    storing,
    vaulting,
)
from tests.unit.li_world import ARRIVED, RIGHTS, identities_of, replication
from tests.unit.recorded import Json, item

MODULES = (
    test_leftovers,
    test_ways_in,
    test_synapse_main,
    test_candidates,
    test_matrixrtc,
    test_turn,
    test_closed_doors,
    test_element_config,
    test_journey,
    test_connections,
    test_login,
    test_names,
    test_replication,
    test_exactly_once,
    test_front_door,
    test_identity,
    test_main_database_rights,
    test_recovery_keys,
    test_li,
    test_antivirus,
    test_retention,
    test_storage,
    test_workers,
    test_objects,
    test_operators,
    test_references,
    test_selectors,
    test_volumes,
    test_workloads,
    test_endpoint,
    test_memory,
    test_redis,
    test_public,
    test_background,
    test_logs,
    test_backends,
    test_configuration,
    test_rendered_config,
    test_signing_key,
    test_event_persisters,
    test_stream_writers,
    test_clocks,
    test_coverage,
    test_monitoring,
    test_placeholders,
    test_certificates,
    test_backups,
    test_quorum,
    test_budgets,
    test_autoscaling,
    test_network_policy,
    test_replication_listener,
)
CHECKS: Mapping[str, Callable[..., None]] = {
    meta.id: each for module in MODULES for each in vars(module).values() if (meta := meta_of(each))
}
NOT_ALLOWED = NotTried("no right: create pods/exec in namespace matrix", BarredBy.RIGHT)
READ_ONLY = NotTried("needs --safety canary", BarredBy.SAFETY)


def observed(lab: recorded.Recording | None = None, files: Any = None) -> dict[str, Any]:
    """Everything that a check may ask for, as of a lab where every probe finds what it should."""
    lab = lab or recorded.healthy()
    model = recorded.model() if lab is recorded.healthy() and files is None else lab.deployment(files=files)
    stored = backing.with_backups(storing.with_storage(model))
    snapshot, secrets = backing.snapshot(lab.snapshot), backing.secrets(lab.secrets)
    return {
        "snapshot": networking.with_policies(budgeting.with_tenant(budgeting.usual(snapshot))),
        "secrets": secrets,
        "deployment": budgeting.with_servers(relaying.with_turn(scanning.with_antivirus(calling.with_calls(stored)))),
        "background_updates": tuple(BackgroundUpdates(each) for each in model.synapse if each.is_main),
        "known_updates": {},
        "calls_discovery": calling.discovery(model),
        "calls_chain": calling.chain(model),
        "turn_credentials": relaying.credentials(model),
        "turn_relays": relaying.relays(),
        "turn_tunnels": relaying.tunnels(),
        "calls_media": calling.media(),
        "sfu_candidates": calling.advertised(),
        "closed_doors": processes.shut(model),
        "server_doors": (),
        "client_journey": front.journey(model),
        "public_front": fronting.door(model),
        "client_addresses": fronting.addresses(model),
        "redactor": Redactor(),
        "settings": Settings(),
        "database_logins": stores.logins(model),
        "database_pools": stores.pools(model),
        "database_instances": stores.instances(model),
        "li_replication": replication(),
        "li_main_rights": RIGHTS,
        "li_arrival": ARRIVED,
        "li_import": Imported(Said({}), Said({})),
        "censored_rows": vaulting.CENSORED,
        "redacted_message": vaulting.REDACTED,
        "module_imports": (),
        "key_vaults": (),
        "key_vault_records": (),
        "identities": identities_of(model),
        "web_pages": (),
        "element_addresses": (),
        "li_front_door": LiFront((), NONE),
        "li_main_token": (),
        "media_doors": processes.media(model),
        "worker_identities": processes.worker_identities(model),
        "object_stores": storing.answers(stored),
        "provider_modules": storing.modules(stored),
        "stored_media": storing.trip(stored),
        "clamd_answers": scanning.clamds(),
        "scanned_media": scanning.trip(model) if model.proxies else READ_ONLY,
        "init_troubles": InitTroubles({pod.id: () for each in model.synapse if (pod := each.pod)}, {}),
        "known_settings": processes.known_settings(model),
        "redis_nodes": stores.nodes(model),
        "redis_backends": stores.backends(model),
        "redis_write": {each.id: WriteProof(each.nodes[0], len(each.nodes) - 1) for each in model.redis if each.nodes},
        "inside_connections": processes.inside(model),
        "probe_pod_connections": InsideView((), {}),
        "federation_canary": processes.canary(model),
        "federation_counters": {each.id: Sent(0) for each in model.synapse},
        "process_logs": processes.logs(model),
        "persisted_rows": processes.persisted(model),
        "persisted_counters": {each.id: Count(0) for each in model.synapse},
        "persisted_events": PersistedEvents(),
        "last_words": {},
        "front_door_requests": routing.front_door(stored) if model.proxies else (),
        "haproxy_views": routing.views(model, lab.snapshot),
        "leftovers": (),
        "node_clocks": looking.nodes(),
        "placeholder_logins": (),
        "scraped_metrics": monitoring.scraped(model, lab.snapshot),
        "custom_schemas": CustomSchemas(),
        "ingress_controllers": (),
        "pod_looks": Looks(
            {
                **looking.looks(relaying.with_turn(calling.with_calls(model))).seen,
                **listening.looks(model, lab.snapshot).seen,
            },
            {},
        ),
        "shown_certificates": showing.whole(model),
        "backup_buckets": backing.buckets(stored, snapshot, secrets),
        "store_health": budgeting.health(),
        "autoscalers": autoscaling.seen(lab.snapshot),
        **networking.observations(model, networking.with_policies(lab.snapshot)),
    }


def ask(id: str, lab: recorded.Recording | None = None, **others: Any) -> Judge:
    """What a check says of a lab, with some of the observations replaced."""
    pen, given = Judge(), observed(lab) | others
    function = CHECKS[id]
    function(**{name: given[name] for name in inspect.signature(function).parameters if name != "judge"}, judge=pen)
    return pen


def only(pen: Judge, status: Status = Status.FAILED) -> Failure:
    """The one thing that a check has to say."""
    assert [(each.status, each.headline) for each in pen.failures] == [(status, pen.failures[0].headline)]
    return pen.failures[0]


MODEL = recorded.model()
CLUSTER = MODEL.postgres[0]
GROUP = MODEL.redis[0]
ADDRESS = MODEL.redis_endpoints[0]


def not_ready(raw: Json, name: str, *, state: Json | None = None, restarts: int = 0, last: int | None = None) -> None:
    """A pod of the lab whose first container is in another state."""
    pod = item(raw, "Pod", name)
    for each in pod["status"]["conditions"]:
        if each["type"] == "Ready":
            each["status"] = "False"
    status = pod["status"]["containerStatuses"][0]
    status |= {"ready": False, "restartCount": restarts, "state": state or {"running": {}}}
    if last is not None:
        status["lastState"] = {"terminated": {"exitCode": last}}
