"""Does what the one JSON line on standard input asks for, and prints the answer as one JSON line."""

import json
import sys

import canary
import connections
import turn

DEEDS = {
    "connect": connections.connect_all,
    "listen": canary.listen,
    "heard": canary.heard,
    "relays": turn.relays,
}


def main():
    deed, given = json.loads(sys.stdin.readline())
    answer = DEEDS[deed](given)
    if answer is not None:
        print(json.dumps(answer))


main()
