"""Every time limit of the verifier, in seconds, in one table.

A limit is named after what waits; a probe names the one that holds for it, and nothing that touches
a network runs without one.
"""

from __future__ import annotations

from typing import Final


class Limit:
    """Seconds, by what waits."""

    CONNECT: Final = 6.0
    """One TCP or TLS connection, to the API server or through a tunnel."""
    REQUEST: Final = 8.0
    """One request to the API server."""
    BACK: Final = 20.0
    """Until an API server that was away answers again, before what it cut is looked at once more."""
    EXEC: Final = 12.0
    """One command in a pod."""
    SCRIPT: Final = 24.0
    """A script in a pod that reads much of Synapse's code: seconds of a processor."""
    FILES: Final = 16.0
    """Reading configuration in all pods."""
    KUBERNETES: Final = 12.0
    """A probe that asks the API server only."""
    SQL: Final = 5.0
    """One SQL statement."""
    LOCK: Final = 1.0
    """Waiting for a lock in PostgreSQL: rather not looked than in anyone's way."""
    DATABASE: Final = 15.0
    """A probe of PostgreSQL."""
    REDIS_COMMAND: Final = 5.0
    """One Redis command."""
    REDIS: Final = 20.0
    """A probe of Redis: three tries. A Sentinel that resolves names answers nobody while its resolver does not."""
    HTTP: Final = 8.0
    """One HTTP request to a service."""
    INSIDE: Final = 20.0
    """A probe from within a pod of the deployment."""
    PROBE_POD: Final = 45.0
    """A probe pod from its creation to its last answer."""
    LEASE: Final = 60.0
    """Waiting for another run on the same namespace to end."""
    CANARY_USER: Final = 25.0
    """Logging the probe user in, or making its room, with the waits that a rate limit asks for."""
    ROOM: Final = 20.0
    """Making a room: many events."""
    POD_START: Final = 120.0
    """A pod's containers being made, before a Job counts as stuck."""
    FEDERATION: Final = 150.0
    """The canary homeserver, from its pod to the last quiet second."""
    ARRIVAL: Final = 12.0
    """Until an event has reached every canary, or LI's database."""
    PERSISTING: Final = 12.0
    """One event through a persister, waits for a rate limit included."""
    LEAVE: Final = 20.0
    """A canary's way out of a room: Synapse waits up to 5 s at a time for its writers' replication, then goes on."""
    HELD_BACK: Final = 75.0
    """Until Synapse tries again to send to a server that it could not reach before."""
    CANARY: Final = 40.0
    """A canary event from its sending to its arrival, waits for a rate limit included."""
    CLEAN_UP: Final = 30.0
    """Removing what a run made, and proving that it is gone."""
    STORING: Final = 12.0
    """One upload, and until an object is in its bucket where the upload does not wait for that."""
    STORAGE: Final = 45.0
    """A file's way into the bucket and back out through every media process."""
    SCANNING: Final = 45.0
    """Two uploads, every way to them past and through the scanners, and their removal."""
    VAULT: Final = 15.0
    """A record's way into the key vault and back."""
    CALLS: Final = 20.0
    """A probe of the way into a call."""
    SIGNALS: Final = 4.0
    """An SFU's answer to an offer, with all addresses that it has to tell."""
    MEDIA_PATH: Final = 3.0
    """Until an address of the SFU has answered from a pod, or counts as dead; the same for a handshake with it."""
    MEDIA: Final = 12.0
    """Two participants in a pod, from their first packet until each has heard the other."""
    CALL: Final = 60.0
    """Both participants' way into a call and through it, with the start of their pod, and the room's end."""
    DOORS: Final = 36.0
    """A stranger's knocks at doors that are to be closed, three times in turn."""
    JOURNEY: Final = 24.0
    """The probe user's whole way through the front door, waits for a rate limit included."""
    SYNC: Final = 8.0
    """Until what was sent is there for another session, or through another process."""
    FOUND: Final = 6.0
    """Until a proxy has found the pods behind it that are ready."""
    LOGGED_OUT: Final = 4.0
    """Until every process knows that a session has ended."""
    ROUTES: Final = 40.0
    """Requests of each class through the front door and what every process counted of them, several times over."""
    PROXY: Final = 12.0
    """What a proxy says of its servers, and a second look where they are not all up."""
    PUBLIC: Final = 20.0
    """A probe of the front door, by its public names."""
    NAMES: Final = 3.0
    """The machine's resolver, for one public name."""
    COPIED: Final = 4.0
    """Until a session of main's is in LI's database, where it cannot be seen whether LI follows: else within a second."""
    NOTED: Final = 1.5
    """Until a worker has told the process that notes them from where it was asked."""
    WRITTEN: Final = 7.0
    """The same, until that process has written it: every 5 s."""
    PROGRESS: Final = 5.0
    """Between two looks at something that must move."""
    AGAIN: Final = 10.0
    """A second look, in quiet, of a probe that met silence while all looked at once."""
    AUTOSCALING: Final = 38.0
    """A probe of the autoscalers, which look every 15 s (Kubernetes 1.34), as metrics-server does: a round may be lost."""
    SHUT: Final = 1.5
    """One connection that is to be dropped on its way: within a cluster, what is let through is made in milliseconds."""
    ANSWER: Final = 5.0
    """One request of a user's while a part is away: whoever waits longer has none."""
    QUIET: Final = 60.0
    """Until everything is ready and quiet, before a part is taken away."""
    DRAIN: Final = 120.0
    """Until every pod of a node has been let go by its budget."""
    RECOVERY: Final = 300.0
    """Until everything is ready and quiet again, at most: the settings say how much of it."""
    DISRUPTION: Final = 900.0
    """One part taken away and back, from the first request to the last quiet second."""
