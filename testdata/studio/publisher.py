"""Publishes a version of a shot, with its movie and a thumbnail."""
import tool

sg = tool.client("publisher")


def job():
    shot = sg.find_one("Shot", [["project", "is", tool.HARBOUR], ["code", "is", "harbour_sq01_0010"]], ["code", "sg_sequence.Sequence.code"])
    task = sg.find_one("Task", [["entity", "is", shot], ["step.Step.code", "is", "Animation"]], ["content"])
    version = sg.create("Version", {
        "project": tool.HARBOUR, "code": shot["code"] + "_v002", "entity": shot, "sg_task": task,
        "description": "longer hold", "sg_path_to_frames": "/mnt/projects/v002.%04d.exr",
    })
    sg.update("Version", version["id"], {"sg_status_list": "rev"})
    sg.upload("Version", version["id"], tool.a_file("v002.mov"), "sg_uploaded_movie")
    sg.upload_thumbnail("Version", version["id"], tool.a_file("v002.png"))
    sg.create("PublishedFile", {
        "project": tool.HARBOUR, "code": "anim.v002.ma", "name": "anim", "entity": shot, "task": task, "version": version, "version_number": 2,
    })
    return {"sequence": shot["sg_sequence.Sequence.code"], "version": version["code"],
            "shows": sorted(p["name"] for p in sg.find("Project", [], ["name"])),
            "codes": len(sg.find("Shot", [], ["code"]))}


tool.main(job, [
    lambda: sg.create("Version", {"project": tool.ELSEWHERE, "code": "v001"}),
    lambda: sg.update("Version", tool.elsewhere(), {"sg_status_list": "rev"}),
    lambda: sg.update("Version", 1, {"client_approved": True}),
    lambda: sg.delete("Version", 1),
    lambda: tool.client("publisher", sudo_as_login="cleo").find_one("Shot", [["project", "is", tool.HARBOUR]]),
    lambda: sg.find_one("Version", [["project", "is", tool.HARBOUR]], ["user.HumanUser.password_proxy"]),
])
