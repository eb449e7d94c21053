"""Calls every public method of shotgun_api3 that api3 JSON serves.

Usage: every_method.py BASE_URL SCRIPT_NAME [OPTION=VALUE ...] < key
The key is the first line of stdin. Options: ca=FILE (certificates to trust),
sudo=LOGIN (repeat a few calls as that person), session=no (leave out
get_session_token and what needs it), password=LOGIN:PASSWORD (try
authenticate_human_user with it and with a wrong one).

Prints one JSON object on stdout: step -> result. The site must be freshly
seeded (flowsite.Demo) and have a fixed clock; then the output is the same on
every run. Exits 0 when every step answered.
"""
import datetime
import json
import sys

import shotgun_api3

# Older clients convert datetimes with the local zone: keep UTC out of doubt.
import os
import time
os.environ["TZ"] = "UTC"
time.tzset()

base_url, script_name = sys.argv[1], sys.argv[2]
options = dict(arg.split("=", 1) for arg in sys.argv[3:])
key = sys.stdin.readline().rstrip("\n")
results = {}


def plain(value):
    if isinstance(value, datetime.datetime):
        return "datetime:" + value.astimezone(datetime.timezone.utc).isoformat()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def step(name, value):
    assert name not in results, name
    results[name] = plain(value)
    return value


def fails(name, call):
    try:
        call()
    except shotgun_api3.Fault as e:
        step(name, [type(e).__name__, str(e).split("\n")[0]])
    else:
        raise AssertionError(name + " did not fail")


def refused(sg, login, password):
    try:
        return sg.authenticate_human_user(login, password)
    except shotgun_api3.AuthenticationFault:
        return None  # what older releases answer themselves


def connect(**more):
    return shotgun_api3.Shotgun(base_url, script_name=script_name, api_key=key, ca_certs=options.get("ca"), **more)


FILM = {"type": "Project", "id": 65}
ANN = {"type": "HumanUser", "id": 1}
BEN = {"type": "HumanUser", "id": 2}


def reads(sg):
    step("info", sg.info())
    step("find_one", sg.find_one("Shot", [["id", "is", 1]], ["code", "sg_sequence", "assets", "tasks", "image", "created_at", "sg_cut_order"]))
    step("find_one.none", sg.find_one("Shot", [["id", "is", 123456789]]))
    step("find.dotted", sg.find("Task", [["project", "is", FILM], ["entity.Shot.sg_sequence.Sequence.code", "is", "harbour_sq01"]],
         ["content", "entity.Shot.code", "entity.Shot.sg_sequence.Sequence.code", "entity.Asset.code", "task_assignees", "due_date"],
         [{"field_name": "due_date", "direction": "desc"}, {"field_name": "id", "direction": "asc"}]))
    step("find.any", sg.find("Shot", [["sg_status_list", "is", "fin"], {"filter_operator": "all", "filters": [
        ["code", "starts_with", "harbour"], ["sg_cut_out", "between", 1000, 1030]]}], ["code"], filter_operator="any"))
    step("find.page", sg.find("Shot", [], ["code"], limit=5, page=2))
    step("find.all", len(sg.find("Task", [])))
    step("find.unicode", sg.find("HumanUser", [["name", "contains", "Åström"]], ["name", "login"]))
    step("find.retired", sg.find("Shot", [], ["code"], retired_only=True))
    step("find.archived", len(sg.find("Shot", [], include_archived_projects=False)))
    step("find.image", sg.find("Version", [["id", "is", 1]], ["image", "sg_metadata"]))
    step("find.preset", sg.find("Version", [["entity", "is", {"type": "Shot", "id": 1}]], ["code"],
         additional_filter_presets=[{"preset_name": "LATEST", "latest_by": "ENTITIES_CREATED_AT"}]))
    step("find.datetime", len(sg.find("Shot", [["created_at", "less_than", datetime.datetime(2030, 1, 1)]])))
    step("find.big", sg.find("Shot", [["id", "in", [1, 2, 2 ** 31 - 1]]], ["code"]))
    step("summarize", sg.summarize("Shot", [["project", "is", FILM]], [
        {"field": "id", "type": "count"}, {"field": "sg_cut_duration", "type": "sum"}], grouping=[
        {"field": "sg_sequence", "type": "exact", "direction": "asc"}, {"field": "sg_status_list", "type": "exact", "direction": "desc"}]))
    step("summarize.archived", sg.summarize("Task", [], [{"field": "due_date", "type": "latest"}], include_archived_projects=False))
    fails("fault.field", lambda: sg.find("Shot", [], ["sg_no_such"]))
    fails("fault.type", lambda: sg.find("NoSuchType", []))


def writes(sg):
    shot = step("create", sg.create("Shot", {
        "code": "naïve — 日本語 \U0001F600 <&> \u2028", "project": FILM, "sg_sequence": {"type": "Sequence", "id": 1},
        "assets": [{"type": "Asset", "id": 1}, {"type": "Asset", "id": 2}], "sg_cut_in": 1001, "sg_bid": 12.5, "sg_turnover": "2026-02-01"},
        ["code", "sg_sequence.Sequence.code"]))
    step("update", sg.update("Shot", shot["id"], {"description": "line one\nline \"two\"", "sg_cut_out": 2 ** 31 - 1}))
    step("update.add", sg.update("Shot", shot["id"], {"assets": [{"type": "Asset", "id": 3}]}, {"assets": "add"}))
    step("update.remove", sg.update("Shot", shot["id"], {"assets": [{"type": "Asset", "id": 1}]}, {"assets": "remove"}))
    step("update.reverse", [sg.find_one("Asset", [["id", "is", i]], ["shots"]) for i in (1, 3)])
    step("update.json", sg.update("Version", 1, {"sg_metadata": {"big": 2 ** 70, "deep": [{"a": None, "b": [True, 1.5]}]}}))
    step("update.json.read", sg.find_one("Version", [["id", "is", 1]], ["sg_metadata"]))
    step("create.event", sg.create("Playlist", {"code": "Monday", "project": FILM, "sg_date_and_time": datetime.datetime(2026, 3, 2, 9, 30, tzinfo=datetime.timezone.utc)}))
    step("batch", sg.batch([
        {"request_type": "create", "entity_type": "Task", "data": {"content": "Comp", "project": FILM, "entity": {"type": "Shot", "id": shot["id"]}}, "return_fields": ["entity"]},
        {"request_type": "update", "entity_type": "Shot", "entity_id": 2, "data": {"sg_status_list": "fin", "assets": [{"type": "Asset", "id": 2}]}, "multi_entity_update_modes": {"assets": "add"}},
        {"request_type": "delete", "entity_type": "Shot", "entity_id": 3}]))
    fails("batch.undone", lambda: sg.batch([
        {"request_type": "update", "entity_type": "Shot", "entity_id": 4, "data": {"code": "never"}},
        {"request_type": "delete", "entity_type": "Shot", "entity_id": 987654}]))
    step("batch.undone.read", sg.find_one("Shot", [["id", "is", 4]], ["code"]))
    step("delete", [sg.delete("Shot", shot["id"]), sg.delete("Shot", shot["id"])])
    step("revive", [sg.revive("Shot", shot["id"]), sg.revive("Shot", shot["id"])])
    fails("fault.value", lambda: sg.update("Shot", shot["id"], {"sg_cut_in": "not a number"}))
    fails("fault.id", lambda: sg.update("Shot", 987654, {"code": "x"}))
    return shot


def rest(sg, shot):
    step("follow", sg.follow(ANN, {"type": "Shot", "id": shot["id"]}))
    step("followers", sg.followers({"type": "Shot", "id": shot["id"]}))
    step("following", [sg.following(ANN), sg.following(ANN, project=FILM, entity_type="Shot")])
    step("unfollow", sg.unfollow(ANN, {"type": "Shot", "id": shot["id"]}))
    step("schema_entity_read", [sg.schema_entity_read()["Shot"], sg.schema_entity_read(FILM)["Task"]])
    step("schema_read", [sorted(sg.schema_read()), sg.schema_read(FILM)["Shot"]["code"]])
    step("schema_field_read", [sorted(sg.schema_field_read("Shot")), sg.schema_field_read("Asset", "shots"), sg.schema_field_read("Asset", "shots", FILM)])
    name = step("schema_field_create", sg.schema_field_create("Shot", "entity", "Lead Åse", {"valid_types": ["HumanUser"], "description": "who leads"}))
    step("schema_field_update", sg.schema_field_update("Shot", name, {"name": "Lead"}))
    step("schema_field_used", sg.update("Shot", 1, {name: BEN}))
    step("schema_field_delete", sg.schema_field_delete("Shot", name))
    step("work_schedule_update", sg.work_schedule_update("2026-03-04", False, "Holiday", FILM))
    step("work_schedule_read", sg.work_schedule_read("2026-03-01", "2026-03-05", FILM))
    step("note_thread_read", sg.note_thread_read(700, {"Note": ["created_by.HumanUser.image", "addressings_to"], "Reply": ["content"]}))
    step("text_search", sg.text_search("sq01_0020", {"Shot": [["project", "is", FILM]], "Task": []}, project_ids=[65], limit=5))
    step("activity_stream_read", sg.activity_stream_read("Shot", shot["id"], {"Shot": ["sg_sequence"]}, limit=3))
    step("nav_expand", sg.nav_expand("/Project/65", "entity", {"Shot": ["code"]}))
    step("nav_search_string", sg.nav_search_string("/Project/65", "sq02_0010"))
    step("nav_search_entity", sg.nav_search_entity("/Project/65", {"type": "Shot", "id": 5}))
    step("preferences_read", [sg.preferences_read(["hours_per_day", "no_such"]), sorted(sg.preferences_read())])
    step("update_project_last_accessed", sg.update_project_last_accessed(FILM, ANN))
    if hasattr(sg, "export_page"):
        step("export_page", sg.export_page(900, "csv"))
        fails("export_page.private", lambda: sg.export_page(901, "csv", layout_name="default"))
    if hasattr(sg, "user_subscriptions_read"):
        step("user_subscriptions_create", sg.user_subscriptions_create([{"humanUserId": 2, "subscription": "flow"}]))
        step("user_subscriptions_read", sg.user_subscriptions_read())


def identity(sg):
    sg.set_session_uuid("5a1d49b0-0c69-11e7-a24c-003ee1c0d0c2")
    sg.add_user_agent("tool 1.0")
    step("session_uuid", sg.update("Asset", 1, {"description": "with a session uuid"}))
    sg.reset_user_agent()
    step("event_log", sg.find("EventLogEntry", [["entity", "is", {"type": "Asset", "id": 1}]],
         ["event_type", "attribute_name", "meta", "user", "session_uuid", "project", "created_at"], [{"field_name": "id", "direction": "asc"}]))
    if options.get("sudo"):
        as_person = connect(sudo_as_login=options["sudo"])
        step("sudo", as_person.update("Asset", 2, {"description": "by somebody else"}, ))
        step("sudo.event", sg.find("EventLogEntry", [["entity", "is", {"type": "Asset", "id": 2}]], ["event_type", "user", "meta"])[-1])
        fails("sudo.refused", lambda: connect(sudo_as_login="nobody").find_one("Shot", []))
    if options.get("session") != "no":
        sg.set_session_uuid(None)  # or a proxy keeps it with the session
        token = sg.get_session_token()
        step("get_session_token", len(token) > 0)
        by_session = shotgun_api3.Shotgun(base_url, session_token=token, ca_certs=options.get("ca"))
        step("session", by_session.find_one("Shot", [["id", "is", 1]], ["code"]))
        step("session.token", by_session.get_session_token() == token)
    if options.get("password"):
        login, password = options["password"].split(":", 1)
        step("authenticate_human_user", sg.authenticate_human_user(login, password))
        step("authenticate_human_user.wrong", refused(sg, login, password + "x"))


def main():
    late = connect(connect=False)
    step("connect=False", late.server_info["version"])
    sg = connect()
    sg.config.timeout_secs = 60
    sg.config.localized = True
    reads(sg)
    shot = writes(sg)
    rest(sg, shot)
    identity(sg)
    step("count", sg.summarize("EventLogEntry", [], [{"field": "id", "type": "count"}])["summaries"]["id"])
    sg.close()
    late.close()
    json.dump(results, sys.stdout, sort_keys=True, indent=1, ensure_ascii=True)
    sys.stdout.write("\n")


main()
