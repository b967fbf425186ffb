"""What a record of a Synapse log means: bad, harmless, provoked by the verifier itself, or in no table."""

from __future__ import annotations

import re

from postflight.deployment.known_bad import TABLE, KnownBad
from postflight.deployment.known_harmless import HARMLESS, Harmless
from postflight.deployment.log_lines import Level, Record

#: What a request of the verifier's own is known by.
AGENT = "postflight"
#: What the verifier asks knowing that it will fail, to see how: a worker for what only main knows (calls.matrixrtc), a
#: replication listener without its secret.
OWN = re.compile(
    r"Failed handle request via '(OpenIdUserInfo'|Replication\w+'[\s\S]*RuntimeError: (Missing|Invalid) Authorization header)"
)
QUIET = re.compile("|".join(each.pattern.pattern for each in TABLE if each.least < Level.WARNING))


def wanted(text: str) -> bool:
    """Whether a row of the table of bad lines may fit what is logged below WARNING."""
    return QUIET.search(text) is not None


def known(record: Record) -> KnownBad | None:
    """The row of the table of bad lines that a record fits; None also for what the verifier has provoked itself."""
    if provoked(record):
        return None
    return next((each for each in TABLE if record.level >= each.least and each.pattern.search(record.text)), None)


def harmless(record: Record) -> Harmless | None:
    """The row of the table of harmless errors that a record fits."""
    return next((each for each in HARMLESS if each.pattern.search(record.text)), None)


def provoked(record: Record) -> bool:
    """Whether it is the failure of a request that the verifier makes to see it fail. Where no access line tells who asked
    (they are logged at INFO) it counts as the verifier's: the checks that ask so judge the answer."""
    return record.agent in (None, AGENT) and OWN.search(record.text) is not None


def strange(record: Record) -> bool:
    """Whether it is an error that nothing here explains."""
    return record.level >= Level.ERROR and not (provoked(record) or known(record) or harmless(record))
