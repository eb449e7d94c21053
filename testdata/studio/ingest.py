"""Brings what a camera saw into the show. It is observed: what no rule allows is
let through and recorded, but for what has to be named."""
import tool

sg = tool.client("ingest")


def job():
    camera = sg.create("CustomEntity01", {"project": tool.HARBOUR, "code": "A001_C003"})
    version = sg.create("Version", {"project": tool.HARBOUR, "code": "A001_C003", "description": "take 3"})
    sg.upload("Version", version["id"], tool.a_file("A001_C003.mov"), "sg_uploaded_movie")
    assets = sg.find("Asset", [["project", "is", tool.HARBOUR]], ["code"])  # no rule for this
    return {"camera": camera["code"], "version": version["code"], "assets": len(assets) > 0}


tool.main(job, [
    lambda: sg.update("HumanUser", 1, {"permission_rule_set": {"type": "PermissionRuleSet", "id": 5}}),
    lambda: sg.schema_field_delete("Shot", "sg_bid"),
    lambda: sg.find("EventLogEntry", [], ["meta"]),
])
