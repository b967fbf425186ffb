"""The errors of a Synapse log that call for nobody, and why.

Each row names the issue upstream that it was reported in, or the source that logs it (element-hq/synapse v1.163.2). Seen
in the lab: none of them in 80 logs of healthy processes, from their start on; several while a part that they lean on
was taken away and came back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Exceptions of a connection that was not made, or was cut: Twisted's, and Synapse's own around them.
CUT = (
    r"(?:twisted\.internet\.error\.(?:Connect\w*|Connection\w+|DNSLookupError|NoRouteError|TimeoutError|TCPTimedOutError"
    r"|UserError)|twisted\.web\._newclient\.\w+|twisted\.internet\.defer\.(?:TimeoutError|CancelledError)"
    r"|(?:builtins\.)?Connection\w*Error|OpenSSL\.SSL\.\w*Error|service_identity\.\w+(?:\.\w+)*"
    r"|synapse\.(?:api\.errors\.RequestSendFailed|util\.retryutils\.NotRetryingDestination)"
    r"|synapse\.api\.errors\.(?:HttpResponseException|SynapseError): 50[234])"
)
#: At the beginning of a line, as a traceback ends.
ENDS_CUT = rf"[\s\S]*^{CUT}\b"


@dataclass(frozen=True, slots=True)
class Harmless:
    """An error and why nobody need come for it. ``check`` is the one that proves by behaviour whether there is more to
    it, "" where there cannot be. ``source`` as in the table of bad lines."""

    name: str
    pattern: re.Pattern[str]
    why: str
    source: str
    check: str = ""


def _row(name: str, pattern: str, why: str, source: str, check: str = "") -> Harmless:
    return Harmless(name, re.compile(pattern, re.MULTILINE), why, source, check)


HARMLESS: tuple[Harmless, ...] = (
    _row(
        "metrics that change while they are read",
        r"\A(Traceback[\s\S]* in collect$|Exception running callback for LaterGauge)"
        r"[\s\S]*^RuntimeError: \w+ (changed size|mutated|keys changed) during iteration",
        "one scrape of its metrics was answered with an error, and the next is answered",
        "element-hq/synapse#19961",
    ),
    _row(
        "database connection",
        r"OperationalError|InterfaceError: (connection|cursor) already closed|AdminShutdown|CannotConnectNow|CrashShutdown",
        "a connection that is lost is made anew; whether one can be made is tried",
        "synapse/storage/database.py",
        "database.login",
    ),
    _row(
        "others in the way",
        r"psycopg2\.errors\.(SerializationFailure|DeadlockDetected)",
        "the last of five tries, which the table of bad lines has by its own line",
        "synapse/storage/database.py",
    ),
    _row(
        "Redis connection",
        r"txredisapi\.ConnectionError|^ConnectionError: (Lost connection|Not connected)",
        "a connection that is lost is made anew, and who listens where is counted",
        "synapse/replication/tcp/redis.py",
        "redis.endpoint",
    ),
    _row(
        "lost subscriber",
        r"Failed to write command \w+ to connection",
        "the connection to Redis went while something was said, and is made anew",
        "synapse/replication/tcp/handler.py",
        "redis.endpoint",
    ),
    # 502 to whoever asked, logged as an error where a background process asked.
    _row(
        "process not there",
        r"Failed to talk to \S+ process",
        "the other process was starting or ending; whether it is up is seen",
        "matrix-org/synapse#9338",
        "platform.workloads",
    ),
    _row(
        "cut in the background",
        rf"\ABackground process '[^']*' threw an exception{ENDS_CUT}",
        "whoever it spoke to was starting, ending or far away; it goes on in its next round",
        "matrix-org/synapse#9338",
    ),
    _row(
        "homeserver out of reach",
        r"\A(TX \[|Failed to (send transaction|resync device for|backfill from|handle device list update|get state for"
        r"|fetch (remote media|room complexity)|send_third_party_invite)|Error pushing typing notif to remotes)"
        rf"{ENDS_CUT}"
        r"|\AFailed handle request via[\s\S]*^synapse\.(api\.errors\.RequestSendFailed|util\.retryutils\.NotRetrying)",
        "another homeserver does not answer, or not by its certificate: it is tried again later",
        "matrix-org/synapse#4003",
        "federation.exactly_once",
    ),
    _row(
        "keys of another homeserver",
        r"\A(Error getting keys from |Error resetting retry timings on )",
        "another homeserver answers for its keys with something else",
        "synapse/crypto/keyring.py",
    ),
    _row(
        "certificate of another homeserver",
        r"\AError during info_callback",
        "another homeserver shows a certificate that is not its own; it is not spoken to",
        "matrix-org/synapse#7148",
    ),
    _row(
        "no homeserver's name",
        r"\AInvalid destination: ",
        "a client or another server speaks of a homeserver by a name that can be none",
        "synapse/http/matrixfederationclient.py",
    ),
    _row(
        "cut within Twisted",
        r"\A(Unhandled [Ee]rror( in Deferred:?)?|Unexpected exception from twisted\.web\.client\.FileBodyProducer"
        rf"|while interacting with body decoder){ENDS_CUT}",
        "a connection went while it was in use: a client, a scanner that does not speak TLS, another homeserver",
        "matrix-org/synapse#4003",
    ),
    _row(
        "file whose reader has gone",
        r"\Awhile calling from thread[\s\S]*s3_storage_provider\.py\", line \d+, in _(write|error|finish)$"
        r"[\s\S]*^(builtins\.)?AttributeError: ",
        "a client hangs up when it has the whole of a file from the object store, before its producer is taken off",
        "matrix-org/synapse#5304",
        "media.storage",
    ),
    _row(
        "asked by the verifier without the secret",
        r"\AFailed handle request via 'Replication[^\n]*/events/postflight\b"
        r"[\s\S]*^(builtins\.)?RuntimeError: Missing Authorization header",
        "`security.replication_listener` asks each replication listener once, and is refused",
        "synapse/replication/http/_base.py",
    ),
    _row(
        "client gone",
        r"'NoneType' object has no attribute '(writeHeaders|registerProducer|unregisterProducer|loseConnection|write)'"
        r"|'TransportProxyProducer' object has no attribute 'abortConnection'"
        r"|Request\.finish called on a request after its connection was lost",
        "a client went away before its answer was written",
        "matrix-org/synapse#8465",
    ),
    _row(
        "cancelled",
        r"\AGot cancellation before client disconnection|^(twisted\.internet\.defer|asyncio\.exceptions)\.CancelledError\b",
        "a request was called off, mostly as its client went away",
        "synapse/http/server.py",
    ),
    _row(
        "token of a client",
        r"\A(Failed to parse stream token|Failed to create pagination config)",
        "a client asks from a place that there is not",
        "element-hq/synapse#18139",
    ),
    _row(
        "sign-on of another page",
        r"\A(Invalid session for OIDC callback|OIDC session uses unknown IdP)",
        "a browser comes back to a sign-on that is over",
        "synapse/handlers/oidc.py",
    ),
    _row(
        "page of a preview",
        r"\AError handling downloaded ",
        "a page that somebody spoke of is none that can be shown",
        "synapse/media/url_previewer.py",
    ),
    _row(
        "book-keeping",
        r"\A(Context have unexpectedly changed|(Tried to (start|update)|Trying to stop) (a )?RequestMetrics?"
        r"|Tried to (activate scope outside of loggingcontext|close a non-active scope)|Closing scope "
        r"|Background process (re-entered|exited) without a proc|Metric named \S+ already registered"
        r"|No active span in force_tracing|There was no active span)",
        "Synapse loses count of its own effort for a request; the request goes on",
        "matrix-org/synapse#10702",
    ),
)
