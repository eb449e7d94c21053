"""Runs the file calls of the real client and prints what each came to.

Usage: client_files.py BASE_URL SCRIPT_NAME [name=value ...] < key
  ca=FILE       certificates to trust
  proxy=ADDR    http_proxy of the client
  dir=DIR       where the files to upload are, and are downloaded to
  big=1         also upload big.bin in parts
Ids are in the order of the calls, so that two runs can be compared.
"""
import hashlib
import json
import os
import sys

from shotgun_api3 import Shotgun

base_url, script_name = sys.argv[1:3]
options = dict(a.split("=", 1) for a in sys.argv[3:])
key = sys.stdin.readline().rstrip("\n")
folder = options["dir"]
sg = Shotgun(base_url, script_name=script_name, api_key=key, ca_certs=options.get("ca"), http_proxy=options.get("proxy"))
sg.BACKOFF = 0
out = {}


def step(name, call):
    try:
        value = call()
    except Exception as e:
        value = {"raised": type(e).__name__, "text": str(e).replace(folder, "")}
    if isinstance(value, bytes):
        value = {"sha256": hashlib.sha256(value).hexdigest(), "size": len(value)}
    out[name] = value
    return value


def local(name):
    return os.path.join(folder, name)


def saved(name, attachment):
    path = sg.download_attachment(attachment, file_path=local(name))
    with open(path, "rb") as f:
        return f.read()


movie = step("upload", lambda: sg.upload("Version", 1, local('sh\u00f6t "1".mov'), field_name="sg_uploaded_movie"))
note = step("upload_to_record", lambda: sg.upload("Note", 700, local("paint.png"), display_name="Paint over", tag_list="hero, new tag"))
step("upload_thumbnail", lambda: sg.upload_thumbnail("Version", 1, local("thumb.png")))
step("upload_filmstrip_thumbnail", lambda: sg.upload_filmstrip_thumbnail("Version", 1, local("film.jpg")))
step("share_thumbnail", lambda: sg.share_thumbnail([{"type": "Shot", "id": 1}, {"type": "Asset", "id": 2}], source_entity={"type": "Version", "id": 1}))
step("share_uploaded", lambda: sg.share_thumbnail([{"type": "Shot", "id": 2}, {"type": "Shot", "id": 3}], thumbnail_path=local("thumb.png")))
step("share_filmstrip", lambda: sg.share_thumbnail([{"type": "Version", "id": 2}], source_entity={"type": "Version", "id": 1}, filmstrip_thumbnail=True))
if options.get("big"):
    step("upload_big", lambda: sg.upload("Version", 2, local("big.bin"), field_name="sg_uploaded_movie"))
step("unknown_field", lambda: sg.upload("Version", 1, local("paint.png"), field_name="sg_no_such"))
step("unknown_row", lambda: sg.upload("Version", 99999, local("paint.png"), field_name="sg_uploaded_movie"))
version = step("read", lambda: sg.find_one("Version", [["id", "is", 1]], ["sg_uploaded_movie", "image", "filmstrip_image"]))
step("read_note", lambda: sg.find_one("Note", [["id", "is", 700]], ["attachments"]))
step("read_attachment", lambda: sg.find_one("Attachment", [["id", "is", note]], ["this_file", "display_name", "filename", "file_size", "tags", "attachment_links"]))
step("url_by_id", lambda: sg.get_attachment_download_url(movie))
step("url_by_hash", lambda: sg.get_attachment_download_url({"type": "Attachment", "id": movie}))
step("url_by_value", lambda: sg.get_attachment_download_url(version["sg_uploaded_movie"]))
step("url_of_nothing", lambda: sg.get_attachment_download_url(None))
step("download_by_id", lambda: sg.download_attachment(movie))
step("download_by_keyword", lambda: sg.download_attachment(attachment_id=movie))
step("download_by_hash", lambda: sg.download_attachment({"type": "Attachment", "id": movie}))
step("download_by_value", lambda: sg.download_attachment(version["sg_uploaded_movie"]))
step("download_to_file", lambda: saved("movie.out", version["sg_uploaded_movie"]))
step("download_image", lambda: sg.download_attachment({"url": version["image"]}))
step("download_nothing", lambda: sg.download_attachment(None))
step("download_missing", lambda: sg.download_attachment(99999))
if options.get("big"):
    big = step("read_big", lambda: sg.find_one("Version", [["id", "is", 2]], ["sg_uploaded_movie"]))
    step("download_big", lambda: sg.download_attachment(big["sg_uploaded_movie"]))
step("copy", lambda: sg.update("Version", 3, {"sg_uploaded_movie": version["sg_uploaded_movie"]}))
step("read_copy", lambda: sg.find_one("Version", [["id", "is", 3]], ["sg_uploaded_movie"]))
json.dump(out, sys.stdout, indent=1, sort_keys=True, default=str)
