"""The lines of a Synapse log that are known to be bad, and what each means.

Each row names the issue upstream that it was reported in, or the source that logs it (element-hq/synapse v1.163.2).
Normal, and in no table, as they are no errors: a transaction that is tried again (``[TXN DEADLOCK]`` below 5/5, could
not serialize access), ``IntegrityError when upserting``, a federation request that another server refuses,
``Ignoring received event``. Nor is what another check finds by behaviour (a media listener that serves none).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from postflight.deployment.log_lines import Level


class Follows(Enum):
    """What a line may be a mere consequence of, so that it stands as a finding only where that is not found broken."""

    NOTHING = "it is a finding of its own"
    PROCESS = "the process, or what it depends on: its database, Redis, main"
    SENDING = "who sends to other homeservers"
    CALLS = "how a call asks who a user is"
    STORE = "the object store, or what Synapse knows of it"


@dataclass(frozen=True, slots=True)
class KnownBad:
    """A line and what it means. ``says`` goes on after the name of a process, with ``{what}`` as the pattern's group of
    that name has it; ``source`` is ``owner/repository#number`` or a file of Synapse's. ``stops``: the process cannot do
    what it is there for (else it does less). ``lasting``: only a restart of the process itself ends it, so that a line
    of some time ago still holds. ``again``: one line alone may be chance, two are a fault."""

    name: str
    pattern: re.Pattern[str]
    says: str
    cause: str
    remedy: str
    source: str
    stops: bool = False
    follows: Follows = Follows.NOTHING
    lasting: bool = False
    again: bool = False
    least: Level = Level.WARNING


def _row(name: str, pattern: str, says: str, cause: str, remedy: str, source: str, **more: object) -> KnownBad:
    return KnownBad(name, re.compile(pattern, re.MULTILINE), says, cause, remedy, source, **more)  # type: ignore[arg-type]


#: The first that fits a record counts.
TABLE: tuple[KnownBad, ...] = (
    _row(
        "wrong persister",
        r"Failed handle request via 'ReplicationSendEventsRestServlet'[\s\S]*^AssertionError\s*\Z",
        "is given events of rooms that another event persister writes, and refuses them",
        "the process that sent them has another stream_writers.events, or the same in another order",
        "put one list into the configuration that all processes share, and restart every Synapse process together",
        "matrix-org/synapse#8170",
        stops=True,
        follows=Follows.PROCESS,
    ),
    _row(
        "unmapped instance",
        r"(?P<what>Instance '[^']*' not in 'instance_map' config|Trying to send HTTP request to self)",
        "does not know where to send what another process must write: {what}",
        "instance_map in its configuration lacks the writer, or names the process itself",
        "put one instance_map into the configuration that all processes share, and restart",
        "synapse/replication/http/_base.py",
        lasting=True,
    ),
    _row(
        "replication secret",
        r"Failed handle request via 'Replication(?![^\n]*/events/postflight\b)[\s\S]*RuntimeError: (?P<what>(Missing|Too many|Invalid) Authorization header)",
        "is asked for replication by someone who does not know its worker_replication_secret ({what})",
        "a process has another worker_replication_secret, or somebody else reaches the replication listener",
        "give all processes one worker_replication_secret; let nobody else reach the replication listeners",
        "synapse/replication/http/_base.py",
    ),
    _row(
        "wrong sender",
        r"(Create a per destination queue for|Trying to start a transaction to) \S+ on wrong worker",
        "is to send to a homeserver that by its own list another process sends to",
        "the processes hold different federation_sender_instances",
        "put one list into the configuration that all processes share, and restart every Synapse process",
        "synapse/federation/sender/per_destination_queue.py",
        follows=Follows.SENDING,
        lasting=True,
    ),
    _row(
        "sender without a position",
        r"(Error updating federation stream position|process_event_queue_for_federation' threw an exception)"
        r"[\s\S]*StoreError: (404: )?No row found",
        "has no place of its own in federation_stream_position: it does not keep what it has sent",
        "another process holds itself to be the sender and has put its own rows there",
        "put one federation_sender_instances into the configuration that all processes share, and restart",
        "matrix-org/synapse#8745",
        follows=Follows.SENDING,
    ),
    _row(
        "unknown stream",
        r"Got (?P<what>\w+ for unknown stream: \w+)",
        "hears of a stream that it does not know: {what}",
        "processes of different releases talk to each other",
        "run one release of Synapse in every process",
        "matrix-org/synapse#7648",
    ),
    _row(
        "foreign words in Redis",
        r"Failed to parse replication line",
        "hears something in the replication's Redis channel that is no command",
        "processes of different releases, or something else, publish under the server's name",
        "run one release of Synapse in every process, and let nothing else use its Redis channels",
        "synapse/replication/tcp/redis.py",
    ),
    _row(
        "replica written to",
        r"READONLY You can't write against a read only replica",
        "writes to a Redis that is a replica",
        "its Redis address leads to a node that is not the master",
        "let the address lead to the master only; what is said on a replica reaches only those who listen there",
        "synapse/replication/tcp/external_cache.py",
        follows=Follows.PROCESS,
    ),
    _row(
        "Redis password",
        r"(?P<what>NOAUTH Authentication required|WRONGPASS invalid username-password pair)",
        "is not let in by Redis: {what}",
        "redis.password in its configuration is not what Redis asks for",
        "give Synapse and Redis one password, and restart the processes",
        "synapse/config/redis.py",
        stops=True,
        follows=Follows.PROCESS,
    ),
    _row(
        "table refused",
        r"InsufficientPrivilege: (?P<what>[^\n]+)",
        "is refused by its own database: {what}",
        "its role does not own what it works with, as after a restore or a migration by another role",
        "make the role that Synapse logs in as the owner of its tables, sequences and schema",
        "synapse/storage/database.py",
    ),
    _row(
        "schema",
        r"Undefined(Table|Column|Object|Function): (?P<what>[^\n]+)",
        "misses something in its database: {what}",
        "the schema is not that of the release that runs: restored from elsewhere, or processes of several releases",
        "run one release in every process; restore the whole schema, never single tables",
        "matrix-org/synapse#11344",
        follows=Follows.PROCESS,
    ),
    _row(
        "duplicate key",
        r"UniqueViolation: (?P<what>duplicate key value violates unique constraint \"[^\"]+\")",
        "cannot store what it has: {what}",
        "a sequence is behind its table (a dump that was restored, a promoted replica), an index is corrupt, or two"
        " processes write one stream",
        "stop Synapse, set the sequence to the table's maximum, check the indexes (amcheck), start it again",
        "matrix-org/synapse#9344",
        again=True,
        least=Level.ERROR,
    ),
    _row(
        "corruption",
        r"(?P<what>(IndexCorrupted|DataCorrupted): [^\n]+|could not read block \d+|invalid page in block"
        r"|more than one row returned by a subquery used as an expression)",
        "meets damage in its database: {what}",
        "an index or a table is corrupt: another collation than C, a changed libc, or a failing disk",
        "stop writing, take a backup, check with amcheck, reindex; make a database of collation C",
        "matrix-org/synapse#6696",
    ),
    _row(
        "disk full",
        r"(?P<what>(could not (extend|write)[^\n]*: )?No space left on device)",
        "cannot write: {what}",
        "the disk of the database, or of the media store, is full",
        "make the volume larger or clear it",
        "matrix-org/synapse#10594",
        stops=True,
    ),
    _row(
        "no connection slot",
        r"(?P<what>remaining connection slots are reserved|sorry, too many clients already|too many connections for \w+)",
        "gets no more connections to PostgreSQL: {what}",
        "the pools of all processes want more than max_connections",
        "lower cp_max or raise max_connections",
        "spantaleev/matrix-docker-ansible-deploy#4442",
        follows=Follows.PROCESS,
        again=True,
    ),
    _row(
        "read-only database",
        r"(?P<what>cannot execute [\w() ]+ in a read-only transaction)",
        "works on a database that takes no writes: {what}",
        "its connections lead to a replica, or to a primary that was demoted: Synapse stays on them until it restarts",
        "let the address lead to the primary, and restart the process",
        "element-hq/synapse#16490",
        stops=True,
        follows=Follows.PROCESS,
    ),
    _row(
        "transaction given up",
        r"\[TXN DEADLOCK\] \{(?P<what>\w+?)(-[0-9a-f]+)?\} 5/5",
        "has given a transaction up after five tries that were in others' way: {what}",
        "two processes that do the same work, or something else that locks Synapse's tables",
        "look in pg_locks and pg_stat_activity for who holds the locks",
        "synapse/storage/database.py",
        again=True,
    ),
    _row(
        "background update",
        r"Error doing update: (?P<what>[^\n]+)",
        "fails at a background update of its database: {what}",
        "what it changes is not as it expects; after five failures all updates rest until a restart",
        "read the traceback in the log, correct the data, then restart main",
        "matrix-org/synapse#12185",
        follows=Follows.PROCESS,
    ),
    _row(
        "media not stored",
        r"(?P<what>S3UploadFailedError|botocore\.exceptions\.\w+|\b(?:NoCredentialsError|EndpointConnectionError): [^\n]+"
        r"|Error storing file)",
        "cannot store or fetch media at its storage provider: {what}",
        "the provider is not reached, refuses the key, or lacks the bucket: media are kept on the pod's own disk only",
        "correct endpoint, bucket and keys in media_storage_providers; then upload what is missing (s3_media_upload)",
        "matrix-org/synapse-s3-storage-provider#126",
        follows=Follows.STORE,
        least=Level.ERROR,
    ),
    _row(
        "open files",
        r"(?P<what>Could not accept new connection \(EMFILE\)|Too many open files)",
        "takes no more connections: {what}",
        "it has as many files and sockets open as its limit allows",
        "raise the container's limit of open files (soft_file_limit), and look for who keeps connections open",
        "matrix-org/synapse#1723",
        stops=True,
        least=Level.INFO,
    ),
    _row(
        "module",
        r"(?P<what>Failed to run module (API )?callback|Module raised an exception in \w+)",
        "runs a module that fails: {what}",
        "the module, or the service that it asks",
        "read the traceback in the log; update the module to one that knows this release",
        "synapse/module_api/callbacks/third_party_event_rules_callbacks.py",
    ),
    _row(
        "request for main",
        r"AttributeError: '(?P<worker>GenericWorker\w+)' object has no attribute '(?P<what>\w+)'",
        "is asked what only main can answer ({what}), and fails",
        "a proxy leads a path to the workers that is not theirs (docs/workers.md lists them)",
        "let the proxy lead this path to main",
        "synapse/app/generic_worker.py",
        follows=Follows.CALLS,
    ),
)
