"""Shows how the shots of a show stand, again and again."""
import tool

sg = tool.client("dashboard")


def job():
    shots = [sg.find("Shot", [["project", "is", tool.HARBOUR]], ["code", "sg_status_list", "sg_sequence.Sequence.code"]) for _ in range(5)]
    tasks = sg.summarize("Task", [["project", "is", tool.HARBOUR]], [{"field": "id", "type": "count"}], grouping=[{"field": "sg_status_list", "type": "exact", "direction": "asc"}])
    schema = [sg.schema_field_read("Shot") for _ in range(3)]
    prefs = sg.preferences_read(["date_component_order"])
    return {"shots": len(shots[0]), "same": all(s == shots[0] for s in shots), "tasks": tasks["summaries"]["id"] > 0,
            "schema": "sg_cut_in" in schema[2], "prefs": sorted(prefs)}


tool.main(job, [
    lambda: sg.find("Shot", [["project", "is", tool.HARBOUR]], ["code", "sg_bid"]),
    lambda: sg.find("Shot", [["sg_bid", "greater_than", 10]], ["code"]),
    lambda: sg.update("Shot", 1, {"sg_status_list": "fin"}),
    lambda: sg.find("HumanUser", [], ["name"]),
])
