"""Runs another script, whose client pauses once.

Usage: pause.py SECONDS CALL SCRIPT [ARGUMENT ...]

Before the CALL-th HTTP request of shotgun_api3 the script sleeps: its
connections are idle for so long, as those of a tool that waits for an artist.
The local port of the connection must be the same afterwards: the client did not
have to connect again.
"""
import runpy
import sys
import time

import shotgun_api3

seconds, call, script = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
sys.argv[:] = sys.argv[3:]
done = 0
make_call = shotgun_api3.Shotgun._make_call


def port(sg):
    return [c.sock.getsockname() for c in sg._get_connection().connections.values()]


def pausing(sg, *args, **kwargs):
    global done
    done += 1
    if done != call:
        return make_call(sg, *args, **kwargs)
    before = port(sg)
    assert before, "the client has no connection yet"
    time.sleep(seconds)
    answer = make_call(sg, *args, **kwargs)
    assert port(sg) == before, (port(sg), before)
    return answer


shotgun_api3.Shotgun._make_call = pausing
runpy.run_path(script, run_name="__main__")
assert done >= call, "the script ended before call %d" % call
