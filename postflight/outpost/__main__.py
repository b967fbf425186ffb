"""Does what the one JSON line on standard input asks for, and prints the answer as one JSON line."""

import json
import sys

import canary
import connections
import turn


def meet(given):
    """The one deed that needs more than the standard library: what it imports is there when it is asked for."""
    import participants

    return participants.meet(given)


DEEDS = {
    "connect": connections.connect_all,
    "listen": canary.listen,
    "heard": canary.heard,
    "relays": turn.relays,
    "meet": meet,
}


def main():
    deed, given = json.loads(sys.stdin.readline())
    answer = DEEDS[deed](given)
    if answer is not None:
        print(json.dumps(answer))


main()
