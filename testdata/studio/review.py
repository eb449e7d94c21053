"""Puts versions on a list for review, with a movie and a note, in the name of ann."""
import tool

sg = tool.client("review", sudo_as_login="ann")


def job():
    versions = sg.find("Version", [["project", "is", tool.HARBOUR]], ["code", "entity.Shot.code"], order=[{"field_name": "code", "direction": "asc"}], limit=2)
    playlist = sg.create("Playlist", {"project": tool.HARBOUR, "code": "Friday", "versions": versions})
    sg.upload("Version", versions[0]["id"], tool.a_file("review.mov"), "sg_uploaded_movie")
    note = sg.create("Note", {"project": tool.HARBOUR, "subject": "Friday", "content": "see the list", "note_links": [versions[0]]})
    sg.upload("Note", note["id"], tool.a_file("drawing.png"))
    return {"playlist": playlist["code"], "versions": len(playlist["versions"]), "note": note["subject"]}


tool.main(job, [
    lambda: sg.find("Note", [["project", "is", tool.HARBOUR]], ["content"]),
    lambda: sg.delete("Playlist", 1),
    lambda: tool.client("review", sudo_as_login="admin").find("Playlist", [], ["code"]),
    lambda: sg.update("Version", 1, {"sg_status_list": "apr"}),
])
