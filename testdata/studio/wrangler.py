"""Sets what became of a render, and logs its time."""
import tool

sg = tool.client("wrangler")


def job():
    tasks = sg.find("Task", [["project", "is", tool.HARBOUR], ["content", "is", "Lighting"]], ["entity.Shot.code", "sg_status_list"], limit=2)
    done = sg.batch([{"request_type": "update", "entity_type": "Task", "entity_id": t["id"], "data": {"sg_status_list": "fin"}} for t in tasks])
    log = sg.create("TimeLog", {"project": tool.HARBOUR, "entity": tasks[0], "duration": 90, "description": "render"})
    return {"tasks": [t["sg_status_list"] for t in done], "taken back": sg.delete("TimeLog", log["id"])}


tool.main(job, [
    lambda: sg.batch([{"request_type": "delete", "entity_type": "TimeLog", "entity_id": n} for n in (1, 2)]),
    lambda: sg.batch([{"request_type": "update", "entity_type": "Task", "entity_id": 1, "data": {"sg_status_list": "fin"}} for _ in range(51)]),
    lambda: sg.update("Task", 1, {"content": "Lighting 2"}),
    lambda: sg.create("TimeLog", {"project": tool.ELSEWHERE, "duration": 90}),
])
