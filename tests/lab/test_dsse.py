"""What postflight signs, another implementation accepts, and refuses when any byte of it is changed."""

from __future__ import annotations

import base64
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.homes import CHECKOUT, home
from lab.setup import golang
from postflight.signoff.envelope import seal
from postflight.signoff.keys import public_key, signer
from tests.unit.test_signoff import pair, signed

__all__ = ["pair"]

MODULE = CHECKOUT / "tests/lab/dsse"
#: Other values that each byte is changed to: neighbours, the other case, and one by chance.
FLIPS = (1, 32, 128)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifier, built with the Go that set-up provides."""
    built = tmp_path_factory.mktemp("dsse") / "dsse"
    where = home()
    command = [golang.program(where), "build", *golang.BUILD[:2], "-o", str(built), "."]
    environment = {**golang.environment(where), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())}
    done = subprocess.run(command, cwd=MODULE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return built


def verdicts(program: Path, key: Path, keyid: str, envelopes: list[bytes]) -> list[str]:
    given = b"\n".join(map(base64.b64encode, envelopes))
    done = subprocess.run([str(program), str(key), keyid], input=given, capture_output=True, check=True)
    return done.stdout.decode().splitlines()


def test_it_is_accepted(program: Path, pair: tuple[Path, Path]) -> None:
    text, _ = signed(pair[0])
    keyid = str(public_key(pair[1]).keyid)
    assert verdicts(program, pair[1], keyid, [text.encode()]) == ["accepted"]


def test_any_one_byte_changed_is_refused(program: Path, pair: tuple[Path, Path]) -> None:
    # A short statement: with it every byte can be tried.
    data = seal({"_type": "a", "subject": ["ünï", 1.5]}, signer(pair[0], {})).encode()
    chance = random.Random(1)
    changed = [
        data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
        for place in range(len(data))
        for flip in (*FLIPS, chance.randrange(1, 256))
    ]
    keyid = str(public_key(pair[1]).keyid)
    assert verdicts(program, pair[1], keyid, [data]) == ["accepted"]
    told = verdicts(program, pair[1], keyid, changed)
    assert len(told) == len(changed)
    assert [each for each, said in zip(changed, told, strict=True) if not said.startswith("refused")] == []


def test_the_key_of_another_is_refused(program: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    text, _ = signed(pair[0])
    openssl = shutil.which("openssl")
    assert openssl
    other = tmp_path / "other.pem"
    subprocess.run([openssl, "genpkey", "-algorithm", "ed25519", "-out", str(other)], check=True)
    subprocess.run([openssl, "pkey", "-in", str(other), "-pubout", "-out", str(tmp_path / "other.pub")], check=True)
    # Under the right key's id, so that nothing but the signature tells.
    keyid = str(public_key(pair[1]).keyid)
    assert verdicts(program, pair[1], keyid, [text.encode()]) == ["accepted"]
    (said,) = verdicts(program, tmp_path / "other.pub", keyid, [text.encode()])
    assert said.startswith("refused")
