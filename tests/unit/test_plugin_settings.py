"""What the settings say of a deployment's kind and of the account to act by, in a run as a user runs it."""

from __future__ import annotations

import pytest

from tests.unit import recorded
from tests.unit.test_plugin import alone, checks, run, up

__all__ = ["alone"]

pytest_plugins = ("pytester",)

OF_ITS_KIND = """
from postflight.account import Account

@check("a.kind", **COMMON)
def test_it_is_of_its_kind(deployment: Deployment, account: Account, judge: Judge) -> None:
    '''Reasons.'''
    judge.warn("it", f"{account.token.reveal()} and {account.token} of {deployment.federates}")
"""


def test_what_is_proposed_is_a_note_of_every_report_until_the_settings_say_it(pytester: pytest.Pytester) -> None:
    checks(pytester, OF_ITS_KIND)
    (pytester.path / "s.yaml").write_text("federation: off\n")
    shut = recorded.renamed(("enable_registration: false", "federation_domain_whitelist: []"))
    with up(pytester, shut) as kubeconfig:
        code, text = run(pytester, "--kubeconfig", kubeconfig, "--safety", "read-only", "checks")
        said = run(pytester, "--kubeconfig", kubeconfig, "--safety", "read-only", "--settings", "s.yaml", "checks")
    note = "federation is taken to be off, as federation_domain_whitelist of synapse-main is empty"
    assert (code, said[0]) == (0, 0)
    assert note in " ".join(text.split())
    assert "taken to be" not in said[1]
    assert "of False" in said[1]


def test_a_given_token_stands_in_no_report(pytester: pytest.Pytester) -> None:
    checks(pytester, OF_ITS_KIND)
    (pytester.path / "token").write_text("syt_a_token_that_was_given\n")
    (pytester.path / "s.yaml").write_text("probe_user: {token_file: token}\n")
    with up(pytester, recorded.healthy()) as kubeconfig:
        _, text = run(pytester, "--kubeconfig", kubeconfig, "--safety", "read-only", "--settings", "s.yaml", "checks")
    assert "<a> and <secret> of None" in text
    for file in (pytester.path / "reports").iterdir():
        assert "syt_a_token" not in file.read_text()
