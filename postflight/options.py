"""The command line, checked before anything is touched."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from postflight import account, credential
from postflight import settings as settings_file
from postflight.cluster.access import Way
from postflight.cluster.kinds import CONFIGURATION, LISTED
from postflight.probes.probe import Safety
from postflight.run import Options
from postflight.whoami import who

if TYPE_CHECKING:
    from postflight.signoff.signing import Request


def add(parser: pytest.Parser) -> None:
    group = parser.getgroup("postflight", "postflight: verify a Matrix deployment on Kubernetes")
    group.addoption("--kubeconfig", metavar="FILE", help="the cluster (else KUBECONFIG, ~/.kube/config, the pod's own)")
    group.addoption("--context", metavar="NAME", help="context of the kubeconfig")
    group.addoption(
        "--namespace",
        action="append",
        default=[],
        metavar="NAME",
        help="namespace of the deployment, repeatable (else those that hold a homeserver)",
    )
    group.addoption("--settings", metavar="FILE", help="settings (YAML): names, what to expect, what is out of reach")
    group.addoption("--waivers", metavar="FILE", help="waivers (YAML): who answers for which failure until when")
    group.addoption("--access", choices=[each.value for each in Way], default=Way.AUTO.value, help="way to the pods")
    group.addoption(
        "--safety",
        choices=[each.value for each in Safety],
        default=Safety.CANARY.value,
        help="what a run may do (default: canary, which leaves nothing behind)",
    )
    group.addoption("--fail-on", choices=["failed", "warned"], default="failed", help="what makes a run red")
    group.addoption("--report-dir", metavar="DIR", help="where the reports go (default: reports/)")
    group.addoption(
        "--termination-log", metavar="FILE", help="write the first cause, one line, where a kubelet reads it"
    )
    group.addoption("--signoff", metavar="RELEASE", help="sign what this run proves of a release (docs/signoff.md)")
    group.addoption("--signoff-key", metavar="FILE", help="private key, PEM (else the PEM in POSTFLIGHT_SIGNOFF_KEY)")
    group.addoption("--list-checks", action="store_true", help="list the checks and stop; needs no cluster")
    group.addoption("--explain", metavar="ID", help="explain one check and stop; needs no cluster")


def parse(config: pytest.Config) -> Options:
    """The options of a run. Raises ``pytest.UsageError`` with one line when they cannot be used."""
    kubeconfig = config.getoption("--kubeconfig")
    try:
        settings = settings_file.load(_path(config, "--settings"))
        given = account.read(settings.probe_user, os.environ)
        opens = credential.read(settings.li.credential, os.environ)
    except settings_file.SettingsError as error:
        raise pytest.UsageError(str(error)) from error
    namespaces = tuple(each for given in config.getoption("--namespace") for each in given.split(",") if each)
    return Options(
        kubeconfig=Path(kubeconfig) if kubeconfig else None,
        context=config.getoption("--context"),
        namespaces=namespaces or settings.namespaces,
        way=Way(config.getoption("--access")),
        safety=Safety(config.getoption("--safety")),
        settings=settings,
        account=given,
        credential=opens,
        kinds=LISTED if config.getoption("--signoff") is None else tuple(dict.fromkeys((*LISTED, *CONFIGURATION))),
    )


def signoff(config: pytest.Config, partial: str) -> Request | None:
    """What is to be signed, None when nothing is. Raises ``pytest.UsageError`` for what is never signed."""
    release = config.getoption("--signoff")
    if release is None:
        return None
    from postflight.signoff import keys
    from postflight.signoff.signing import Request

    if not release.strip() or not release.isprintable():
        raise pytest.UsageError("--signoff takes the name of a release")
    if partial:
        raise pytest.UsageError(f"--signoff {release} refused: a partial run ({partial}) is never signed")
    if Safety(config.getoption("--safety")) is Safety.READ_ONLY:
        raise pytest.UsageError(f"--signoff {release} refused: a read-only run is never signed, it proves too little")
    file = config.getoption("--signoff-key")
    try:
        signer = keys.signer(Path(file) if file else None, os.environ)
    except keys.KeyProblem as error:
        raise pytest.UsageError(f"--signoff {release} refused: {error}") from error
    given = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (_path(config, "--settings"), waiver_file(config))
        if path
    }
    return Request(release, who(), signer, given)


def report_dir(config: pytest.Config) -> Path:
    """The folder for reports, made if need be."""
    given = config.getoption("--report-dir")
    folder = Path(given) if given else config.rootpath / "reports"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".postflight"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise pytest.UsageError(
            f"{folder} cannot take reports ({error.strerror}): name another by --report-dir"
        ) from error
    return folder


def partial(config: pytest.Config, checks: Path, deselected: int, known: Set[str], here: Set[str]) -> str:
    """Why a run is not the whole, "" when it is. ``known`` are the ids of all checks there are, ``here``
    those of this run."""
    for option, said in (("keyword", "-k"), ("markexpr", "-m"), ("lf", "--lf"), ("maxfail", "-x or --maxfail")):
        if getattr(config.option, option, None):
            return said
    if deselected:
        return f"{deselected} checks deselected"
    for arg in config.args:
        path = (config.invocation_params.dir / arg.partition("::")[0]).resolve()
        if "::" in arg or not checks.is_relative_to(path):
            return f"only {arg}"
    if without := sorted(known - here):
        return f"{len(known) - len(without)} of {len(known)} checks, without {', '.join(without)}"
    return ""


def _path(config: pytest.Config, name: str) -> Path | None:
    given = config.getoption(name)
    if given and not Path(given).is_file():
        raise pytest.UsageError(f"{name} {given}: no such file")
    return Path(given) if given else None


def waiver_file(config: pytest.Config) -> Path | None:
    return _path(config, "--waivers")
