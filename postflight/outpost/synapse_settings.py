"""Which settings the Synapse that is installed here reads, by the code of its configuration (``synapse/config/*.py``).

Run by ``python3 -c`` and not out of the archive: it has to see the container's own packages. Upstream's schema of the
settings (schema/synapse-config.schema.yaml) is in no wheel and so in no image (1.163).
"""

import ast
import importlib.metadata
import importlib.util
import json
import pathlib

#: What its code calls the whole configuration (1.119 to 1.163).
WHOLE = "config"
#: Reads a folder's files and calls the others; its own ``config`` are objects.
NOT_READ = "_base.py"


def known(root):
    """The settings, and the keys within those whose own keys are all read by name; each sorted."""
    settings, loose = set(), set()
    within: dict[str, set[str]] = {}
    for file in sorted((root / "config").glob("*.py")):
        if file.name == NOT_READ:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for name in _read_from(tree, WHOLE):
            section, _, key = name.partition(".")
            settings.add(section)
            if key:
                loose.add(section)
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                _sections(function, within, loose)
    kept = {name: sorted(keys) for name, keys in within.items() if keys and name in settings - loose}
    return {"settings": sorted(settings), "within": kept}


def _read_from(tree, name):
    """The words by which a variable's keys are read: asked of it, or given to a function together with it."""
    for node in ast.walk(tree):
        given = []
        if isinstance(node, ast.Subscript) and _is(node.value, name):
            given = [node.slice]
        elif isinstance(node, ast.Compare) and any(_is(each, name) for each in node.comparators):
            given = [node.left]
        elif isinstance(node, ast.Call):
            words = [*node.args, *(each.value for each in node.keywords)]
            if isinstance(node.func, ast.Attribute) and _is(node.func.value, name):
                given = words[:1]
            elif any(_is(each, name) for each in words):
                given = words
        yield from filter(None, map(_word, given))


def _sections(function, within, loose):
    """Of each variable that holds one setting: its keys. A setting is loose where its value goes on to where keys are
    not seen to be read."""
    held = set()
    for node in ast.walk(function):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and (section := _section(_first(node.value))):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and _seen_whole(function, target.id):
                held.add(id(_first(node.value)))
                within.setdefault(section, set()).update(_read_from(function, target.id))
    loose.update(section for node in ast.walk(function) if id(node) not in held and (section := _section(node)))


def _first(value):
    """What stands before ``or``."""
    return value.values[0] if isinstance(value, ast.BoolOp) else value


def _section(value):
    """The setting whose value this is: ``config.get("x")``, ``config["x"]``."""
    if isinstance(value, ast.Subscript) and _is(value.value, WHOLE):
        return _word(value.slice)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and _is(value.func.value, WHOLE):
        return _word(value.args[0]) if value.func.attr == "get" and value.args else ""
    return ""


def _seen_whole(function, name):
    """Whether a variable is only asked for keys by name: never handed on, copied or walked through."""
    asked = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            asked.add(id(node.func.value) if node.args and _word(node.args[0]) else 0)
        elif isinstance(node, ast.Subscript):
            asked.add(id(node.value) if _word(node.slice) else 0)
        elif isinstance(node, ast.Compare) and all(isinstance(each, (ast.In, ast.NotIn)) for each in node.ops):
            asked.update(map(id, node.comparators))
        elif isinstance(node, ast.Compare):
            asked.update(map(id, (node.left, *node.comparators)))
        elif isinstance(node, ast.If):
            asked.add(id(node.test))
        elif isinstance(node, ast.UnaryOp):
            asked.add(id(node.operand))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            asked.update(map(id, node.args))
    used = (node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == name)
    return all(id(node) in asked for node in used if not isinstance(node.ctx, ast.Store))


def _is(node, name):
    return isinstance(node, ast.Name) and node.id == name


def _word(node):
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


if __name__ == "__main__":
    package = importlib.util.find_spec("synapse")
    folder = pathlib.Path(package.origin if package and package.origin else "").parent
    try:
        version = importlib.metadata.version("matrix-synapse")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    print(json.dumps({"version": version, **known(folder)}))
