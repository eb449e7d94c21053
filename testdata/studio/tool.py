"""What the tools of the sample studio have in common.

Usage: TOOL.py BASE_URL job|overreach FOLDER ID

A tool makes its client as any tool does, but for the address and a placeholder
in place of its key. job prints what came of its work, as JSON. overreach tries
what the tool may not do, and prints what the user would see of each. ID is a
record of a show that is not the studio's.
"""
import json
import os
import sys

import shotgun_api3

HARBOUR = {"type": "Project", "id": 65}
ELSEWHERE = {"type": "Project", "id": 99}


def client(name, **more):
    return shotgun_api3.Shotgun(sys.argv[1], script_name=name, api_key="x", **more)


def a_file(name):
    path = os.path.join(sys.argv[3], name)
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + name.encode() * 100)
    return path


def elsewhere():
    return int(sys.argv[4])


def main(job, overreaches):
    if sys.argv[2] == "job":
        print(json.dumps(job(), default=str))
        return
    for reach in overreaches:
        try:
            print(json.dumps("done: %s" % (reach(),)))
        except shotgun_api3.Fault as e:
            print(json.dumps(str(e)))
