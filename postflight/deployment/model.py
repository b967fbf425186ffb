"""The whole model: all parts of a deployment, and what leans on what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from postflight.deployment.call_parts import Calls, Proxy
from postflight.deployment.parts import (
    DatabaseUse,
    Endpoint,
    LawfulIntercept,
    Pod,
    PostgresCluster,
    RedisEndpoint,
    RedisGroup,
    Side,
    SynapseProcess,
    Unclear,
    Workload,
)
from postflight.deployment.placeholders import Placeholders
from postflight.deployment.scan_parts import Antivirus
from postflight.deployment.store_parts import ObjectStore, StoreServers
from postflight.deployment.turn_parts import TurnSetup
from postflight.deployment.vault_parts import KeyVault
from postflight.secrets import Secret


@dataclass(frozen=True, slots=True)
class Deployment:
    """All of it. ``depends`` maps a part to the parts that it cannot work without. ``federates`` is what the settings say
    of federation, None where they say nothing (:func:`postflight.deployment.federating.choice_of`)."""

    namespaces: tuple[str, ...]
    workloads: tuple[Workload, ...]
    pods: Mapping[str, Pod]
    synapse: tuple[SynapseProcess, ...]
    database_uses: tuple[DatabaseUse, ...]
    postgres: tuple[PostgresCluster, ...]
    redis: tuple[RedisGroup, ...]
    redis_endpoints: tuple[RedisEndpoint, ...]
    depends: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()
    li: LawfulIntercept | None = None
    unclear: tuple[Unclear, ...] = ()
    proxies: tuple[Proxy, ...] = ()
    calls: Calls = field(default_factory=Calls)
    federates: bool | None = None
    stores: tuple[ObjectStore, ...] = ()
    turn: TurnSetup = field(default_factory=TurnSetup)
    antivirus: Antivirus = field(default_factory=Antivirus)
    vaults: tuple[KeyVault, ...] = ()
    placeholders: Placeholders = field(default_factory=Placeholders)
    store_servers: tuple[StoreServers, ...] = ()

    def passwords(self) -> Iterator[tuple[Secret, str]]:
        """Every password that something here logs in with, and the name to report it by."""
        for use in self.database_uses:
            origin = use.origin.removeprefix("Secret ")
            name = origin if "/" in origin else f"the password of {use.pod}"
            yield from ((login.password, name) for login in (use.login, use.next_login) if login)
        for node in (each for group in self.redis for each in (*group.nodes, *group.sentinels)):
            if node.password:
                yield node.password, f"the Redis password of {node.pod.name}"
        for address in self.redis_endpoints:
            if address.password:
                yield address.password, f"the password for {address.endpoint.host}"
        for store in self.stores:
            for secret in filter(None, (store.keys.secret, store.keys.token)):
                yield secret, f"the secret key for bucket {store.bucket}"
        for shared in (each for server in self.turn.servers for each in server.secrets):
            yield shared.value, "the shared secret of TURN"
        for told in self.turn.uses:
            if told.secret:
                yield told.secret.value, "the shared secret of TURN"
        for vault in self.vaults:
            for key in (*vault.keys, *((vault.own,) if vault.own else ())):
                if key.secret:
                    yield key.secret, f"the API key of {vault.name}"

    def beyond(self) -> Iterator[tuple[str, Endpoint]]:
        """The addresses within the cluster whose namespace is not looked at, each with the kind of part
        that it is of (``postgresql``, ``redis``)."""
        addresses = [("postgresql", each) for cluster in self.postgres for each in cluster.endpoints]
        addresses += [("redis", address.endpoint) for address in self.redis_endpoints]
        for part, endpoint in addresses:
            if endpoint.external and endpoint.namespace not in ("", *self.namespaces):
                yield part, endpoint

    @property
    def homeservers(self) -> Mapping[str, str]:
        """The server name of the users' homeserver in each namespace that has one, where it is known."""
        mains = [each for each in self.synapse if each.is_main and each.side is Side.MAIN and each.server_name]
        return {each.namespace: each.server_name for each in mains}

    @property
    def without_main(self) -> tuple[SynapseProcess, ...]:
        """The workers of whose homeserver no main process was found."""
        mains = [each for each in self.synapse if each.is_main]
        named = {(main.side, main.server_name) for main in mains if main.server_name}
        workers = [each for each in self.synapse if not each.is_main]
        return tuple(
            each
            for each in workers
            if (each.side, each.server_name) not in named and not any(each.serves_with(main) for main in mains)
        )

    @property
    def unread(self) -> tuple[SynapseProcess, ...]:
        """The processes whose configuration is not known, so that nothing is known of what they use."""
        return tuple(each for each in self.synapse if each.config is None)
