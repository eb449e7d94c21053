"""Follows the event log, and keeps a shot up to date with its tasks."""
import tool

sg = tool.client("events")
sg.set_session_uuid("7b0cb9fb-2e0a-4a0c-8f0e-7f0f5d0d5a11")


def job():
    fields = ["event_type", "attribute_name", "entity", "meta", "session_uuid"]
    last = sg.find("EventLogEntry", [["event_type", "is", "Shotgun_Task_Change"]], fields, order=[{"field_name": "id", "direction": "desc"}], limit=1)
    statuses = sg.schema_field_read("Task", "sg_status_list")["sg_status_list"]["properties"]["valid_values"]["value"]
    task = sg.find_one("Task", [["entity.Shot.id", "is", 1]], ["sg_status_list", "entity"])
    shot = sg.update("Shot", task["entity"]["id"], {"sg_status_list": task["sg_status_list"]})
    return {"log": len(last), "statuses": len(statuses) > 0, "shot": shot["sg_status_list"] == task["sg_status_list"]}


tool.main(job, [
    lambda: sg.find("EventLogEntry", [], ["event_type", "audit_trail"]),
    lambda: sg.update("Shot", 1, {"sg_cut_in": 1}),
    lambda: sg.find("ApiUser", [], ["firstname"]),
])
