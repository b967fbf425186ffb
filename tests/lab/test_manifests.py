"""What of a deployment can be applied at once, and what has to wait for its kind."""

import pytest

from lab import manifests


@pytest.mark.parametrize(
    ("version", "waits"),
    [
        ("v1", False),
        ("apps/v1", False),
        ("networking.k8s.io/v1", False),
        ("apiextensions.k8s.io/v1", False),
        ("postgresql.cnpg.io/v1", True),
        ("cert-manager.io/v1", True),
    ],
)
def test_objects_of_custom_kinds_wait_for_them(version: str, waits: bool) -> None:
    assert manifests._is_custom({"apiVersion": version, "kind": "Thing", "metadata": {"name": "a"}}) is waits
