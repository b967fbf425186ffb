"""A check that does everything wrong with secrets that a check could: they must not get out all the same.

Given to pytest by its path, beside the real ones; nothing collects it by itself.
"""

import logging
import sys
import warnings

from postflight.check import check
from postflight.cluster.secrets import SecretStore
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

log = logging.getLogger("loud")


@check("loud.statement", severity=Severity.MINOR, remedy="none", blind_spots="none")
def test_a_statement_that_names_secrets(secrets: SecretStore, judge: Judge) -> None:
    """It says them in each of its parts."""
    for (_, name), held in secrets.found.items():
        for key, value in held.data.items():
            said = f"{name}/{key} is {value.reveal()}"
            judge.wrong(said, said, observed=said, expected=said, cause=said, remedy=said, evidence=(said,))
            judge.saw(said)


@check("loud.crash", severity=Severity.MINOR, remedy="none", blind_spots="none")
def test_a_crash_with_secrets_at_hand(secrets: SecretStore, judge: Judge) -> None:
    """It prints, logs and warns of them, and dies with them in an assertion, an exception and its locals."""
    plain = [value.reveal() for held in secrets.found.values() for value in held.data.values()]
    for each in plain:
        print(each)
        print(repr(each), file=sys.stderr)
        log.warning("a value: %s", each)
        warnings.warn(each, stacklevel=1)
    try:
        assert plain == []
    except AssertionError as error:
        raise RuntimeError(" ".join(plain)) from error
