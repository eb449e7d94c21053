"""Makes the real client do what flow-protocol measured it doing.

Usage: client_facts.py FACT BASE_URL SCRIPT_NAME < key, rest of stdin is JSON.
Prints what the client made of it, as JSON.
"""
import json
import sys

import shotgun_api3
from shotgun_api3 import Shotgun

fact, base_url, script_name = sys.argv[1:4]
key = sys.stdin.readline().rstrip("\n")
rest = sys.stdin.read()
given = json.loads(rest) if rest.strip() else None


def connect(url=base_url, **more):
    sg = Shotgun(url, script_name=script_name, api_key=key, connect=False, **more)
    sg.BACKOFF = 0  # the sleeps between attempts are not what is measured
    sg.config.rpc_attempt_interval = 0
    return sg


def outcome(call):
    """What came of it: a result, or the exception's class, code and text."""
    try:
        value = call()
    except Exception as e:
        return {"raised": type(e).__name__, "code": getattr(e, "errcode", None), "text": str(e).split("\n")[0]}
    return {"bytes": value.decode()} if isinstance(value, bytes) else {"value": value}


def marked(sg, mark):
    return lambda: sg.delete("Shot", mark)


def faults():
    """Each mark is the id of a delete that the site answers in its own way."""
    out = {}
    for mark, timeout in given:
        sg = connect()
        sg.config.timeout_secs = timeout
        sg.info()  # the connection is a used one, as in a running tool
        out[str(mark)] = outcome(marked(sg, mark))
    return out


def urls():
    def call(i, url):
        sg = connect(url)
        sg.add_user_agent("form-%d" % i)
        return sg.find_one("Shot", [["id", "is", 1]])

    return [outcome(lambda: call(i, url)) for i, url in enumerate(given)]


def connecting():
    out = {"default": Shotgun(base_url, script_name=script_name, api_key=key).server_info["version"]}
    Shotgun(base_url, script_name=script_name, api_key=key, connect=False)
    moved = connect()
    moved.config.server = moved.config.server.replace("127.0.0.1", "localhost")
    moved.server_caps
    return out


def tunnel():
    return outcome(lambda: connect("http://mysite.example", http_proxy=base_url[len("http://"):]).find_one("Shot", []))


def old_server():
    return outcome(lambda: Shotgun(base_url, script_name=script_name, api_key=key))


def auth():
    sg = connect()
    sg.set_session_uuid("uu-id")
    sg.config.sudo_as_login = "ben"
    sg.config.extra_auth_params = {"product": "rv"}
    out = [outcome(lambda: sg.delete("Shot", 1))]
    script = connect()
    token = script.get_session_token()
    out.append(outcome(lambda: script.delete("Shot", 2)))  # the script wins
    out.append(outcome(lambda: Shotgun(base_url, session_token=token, connect=False).delete("Shot", 3)))
    two = Shotgun(base_url, login="two", password="pw", auth_token="123456")
    out.append([two.config.user_login, two.config.user_password, two.config.auth_token])
    out.append(outcome(lambda: two.delete("Shot", 4)))
    out.append(outcome(lambda: Shotgun(base_url, login="two", password="pw", connect=False).delete("Shot", 5)))
    out.append(outcome(lambda: Shotgun(base_url, connect=False).delete("Shot", 6)))
    return out


def values():
    sg = connect()
    return [
        outcome(lambda: sg.update("Version", 1, {"sg_metadata": {"n": 2 ** 70}})),
        outcome(lambda: sg.update("Version", 1, {"sg_metadata": {"n": float("nan")}})),
        outcome(lambda: sg.update("Version", 1, {"description": "\ud800"})),
        outcome(lambda: sg.find("Shot", [["project", "is", {"type": "Project", "id": 65, "name": "n", "code": "c"}], ["id", "is", 1]])),
        outcome(lambda: sg.create("Tag", {"name": "t", "created_by": {"type": "HumanUser", "id": 1, "code": "c"}})),
        outcome(lambda: sg.batch([{"request_type": "update", "entity_type": "Shot", "entity_id": 1, "data": {"sg_sequence": {"type": "Sequence", "id": 2, "code": "c"}}}])),
    ]


def paging():
    sg = connect()
    return [len(sg.find("Shot", [])), len(sg.find("Shot", [], limit=5)), len(sg.find("Shot", [], limit=7)), len(sg.find("Shot", [], page=3))]


json.dump(globals()[fact](), sys.stdout, sort_keys=True)
