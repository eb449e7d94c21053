"""A tool that does with the real client what it is told.

Usage: drive.py BASE_URL [OPTION=JSON ...]

Each line of stdin is a JSON object: {"eval": expression} or {"exec": code}, in
which sg is the client, made without connecting from the options (script_name
and api_key are placeholders where they are not given). Each is answered by one
line on stdout: {"result": value}, or {"class": exception, "text": str of it}.
"""
import datetime
import json
import os
import ssl
import sys
import time
import urllib.request

import shotgun_api3

if shotgun_api3.__version__ == "3.8.4":
    # Its own handler is broken: with it no file can be sent or fetched.
    shotgun_api3.shotgun.CACertsHTTPSHandler = lambda ca: urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca))

options = {"script_name": "comp-publisher", "api_key": "x", "connect": False}
for arg in sys.argv[2:]:
    name, _, value = arg.partition("=")
    options[name] = json.loads(value)


def new(base_url=sys.argv[1], **more):
    """Another client, with some options changed; None leaves one out."""
    use = {name: value for name, value in dict(options, **more).items() if value is not None}
    sg = shotgun_api3.Shotgun(base_url, **use)
    sg.config.timeout_secs = 110  # shorter than the patience of the test
    sg.config.rpc_attempt_interval = 1  # ms: it tries again as often as ever, but at once
    sg.BACKOFF = 0.001  # the same for 502 and 504, in seconds
    return sg


def with_header(sg, name, value):
    """Adds a header to every request of the client."""
    call = sg._make_call

    def wrapped(verb, path, body, headers):
        headers = dict(headers or {})
        headers[name] = value
        return call(verb, path, body, headers)
    sg._make_call = wrapped
    return sg


def whole_file(path):
    with open(path, "rb") as f:
        return f.read().decode("latin-1")


scope = {"sg": new(), "shotgun_api3": shotgun_api3, "os": os, "sys": sys, "time": time, "json": json, "datetime": datetime,
         "new": new, "with_header": with_header, "whole_file": whole_file}
print(json.dumps({"pid": os.getpid(), "version": shotgun_api3.__version__}), flush=True)
for line in sys.stdin:
    do = json.loads(line)
    try:
        if "exec" in do:
            exec(do["exec"], scope)
            answer = {"result": None}
        else:
            answer = {"result": eval(do["eval"], scope)}
    except Exception as e:
        answer = {"class": type(e).__name__, "text": str(e)}
    print(json.dumps(answer, default=str), flush=True)
