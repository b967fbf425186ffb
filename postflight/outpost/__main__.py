"""Does what the one JSON line on standard input asks for, and prints the answer as one JSON line."""

import importlib
import json
import sys

#: The module and function of each deed. Only its module is compiled: many pods are asked at once, and most of what a
#: question costs is that.
DEEDS = {
    "connect": ("connections", "connect_all"),
    "listen": ("canary", "listen"),
    "heard": ("canary", "heard"),
    "relays": ("turn", "relays"),
    "meet": ("participants", "meet"),
}


def main():
    deed, given = json.loads(sys.stdin.readline())
    module, function = DEEDS[deed]
    answer = getattr(importlib.import_module(module), function)(given)
    if answer is not None:
        print(json.dumps(answer))


main()
