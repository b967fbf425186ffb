"""The step that makes the operator's manifest, from the module that its program is built from."""

from lab.homes import CHECKOUT
from lab.node.spec import write
from lab.setup import golang, python
from lab.setup.runner import Work

_MODULE = "github.com/cloudnative-pg/cloudnative-pg"


def make(work: Work) -> None:
    """Raises LabError."""
    folder = golang.module_folder(work, _MODULE) / "config/default"
    rendered = work.run(work.home.bin / "kubectl", "kustomize", folder)
    fitted = work.run(python.PYTHON, "-m", "lab.setup.operator", given=rendered, folder=CHECKOUT)
    write(work.home.operator, fitted)
