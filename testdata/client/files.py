"""Uploads and downloads with the real client in every form that it has.

Usage: files.py BASE_URL SCRIPT_NAME FOLDER [OPTION=VALUE ...] < key
The key is the first line of stdin. FOLDER is empty and may be written to.
Options: ca=FILE (certificates to trust), large=BYTES (of the upload in parts),
sudo=LOGIN (one upload as that person), copy=yes (write links that were read),
cookie=yes (send the session cookie, as at a base URL without a port).

Prints one JSON object: step -> result. The site must be freshly seeded
(flowsite.Demo), announce direct uploads for Version.sg_uploaded_movie and have
a fixed clock. Origins are not printed (see place), so that the output is the
same at the site and through a proxy. Exits 0 when every step answered.
"""
import datetime
import hashlib
import http.cookiejar
import inspect
import json
import os
import ssl
import sys
import time
import urllib.parse
import urllib.request

import shotgun_api3

os.environ["TZ"] = "UTC"
time.tzset()

base_url, script_name, folder = sys.argv[1:4]
options = dict(arg.split("=", 1) for arg in sys.argv[4:])
key = sys.stdin.readline().rstrip("\n")
results = {}
# A PNG of one pixel.
PNG = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010806000000"
                    "1f15c4890000000d49444154789c6360606060000000050001a5f64540"
                    "0000000049454e44ae426082")
MOVIE = "Version", 1
FILM = {"type": "Project", "id": 65}


def place(url):
    """A URL without what differs between two runs: origin, query, relay."""
    parts = urllib.parse.urlsplit(url)
    path, where = parts.path, "ELSEWHERE"
    if url.startswith(base_url + "/storage/"):
        path = "/" + path.split("/", 4)[4]  # /storage/<mac>/<host>/<path>
    elif url.startswith(base_url + "/"):
        where = "SITE"
    names = sorted(name for name, _ in urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
    return where + path + ("?" + "&".join(names) if names else "")


def plain(value):
    if isinstance(value, datetime.datetime):
        return "datetime:" + value.astimezone(datetime.timezone.utc).isoformat()
    if isinstance(value, bytes):
        return "%d bytes %s" % (len(value), hashlib.sha256(value).hexdigest())
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        return place(value)
    return value


def step(name, value):
    assert name not in results, name
    results[name] = plain(value)
    return value


def fails(name, call):
    """The exception's class and its text, less the paths and URLs in it."""
    try:
        call()
    except Exception as e:
        text = str(e).replace(folder, "FOLDER").replace(base_url, "SITE")
        results[name] = [type(e).__name__, text]
    else:
        raise AssertionError(name + " did not fail")


def connect(**more):
    use = {"script_name": script_name, "api_key": key, "ca_certs": options.get("ca")}
    use.update(more)
    sg = shotgun_api3.Shotgun(base_url, **{name: value for name, value in use.items() if value is not None})
    sg.config.timeout_secs = 100
    if options.get("cookie") == "yes":
        with_cookie(sg)
    return sg


if shotgun_api3.__version__ == "3.8.4":
    # Its own handler is broken: with it no file can be sent or fetched.
    shotgun_api3.shotgun.CACertsHTTPSHandler = lambda ca: urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca))


class Sent(http.cookiejar.DefaultCookiePolicy):
    """Keeps no cookie of an answer: the storage has another port of the same
    host, and no cookie is for a port."""

    def set_ok(self, cookie, request):
        return False


def with_cookie(sg):
    """The cookie of downloads for the host and port of the base URL: with a
    port the client gives it a domain that never matches."""
    made = sg.get_auth_cookie_handler

    def handler():
        jar = http.cookiejar.CookieJar(Sent())
        for cookie in made().cookiejar:
            cookie.domain, cookie.port = cookie.domain.split(":")
            cookie.port_specified = True
            jar.set_cookie(cookie)
        return urllib.request.HTTPCookieProcessor(jar)
    sg.get_auth_cookie_handler = handler


def made(name, size, seed=7):
    """A file of so many bytes, the same on each run and nowhere periodic."""
    path = os.path.join(folder, name)
    with open(path, "wb") as f:
        left, n = size, 0
        while left > 0:
            block = hashlib.sha512(b"%d %d" % (seed, n)).digest() * 512  # 32 KiB
            f.write(block[:left])
            left -= len(block)
            n += 1
    return path


def image(name, pixel):
    path = os.path.join(folder, name)
    with open(path, "wb") as f:
        f.write(PNG + bytes([pixel]))
    return path


def uploads(sg):
    """Through the site itself: fields that have no direct upload."""
    short = made("short.txt", 1000, 1)
    step("upload.field", sg.upload("Attachment", sg.upload("Shot", 1, short), short, "this_file"))
    step("upload.record", sg.upload("Shot", 1, made("plates.exr", 300000, 2)))
    step("upload.names", sg.upload("Shot", 2, made("hårbor — 日本.txt", 2000, 3), display_name="Plåte \"A\" <&> 日本", tag_list="hero,reuse"))
    step("upload.quote", sg.upload("Shot", 2, made('a "quoted" name.txt', 30, 13)))
    step("upload.one", sg.upload("Shot", 2, made("one", 1, 4)))
    step("upload.delimiters", sg.upload("Shot", 2, written("delimiters.bin", b"--x\r\n\r\n--\r\n\x00\xff\r\n--\r\nContent-Disposition: form-data; name=\"script_key\"\r\n\r\nx")))
    if "created_at" in inspect.signature(sg.upload).parameters:
        step("upload.created_at", sg.upload("Shot", 3, short, created_at=datetime.datetime(2026, 2, 1, 9, 30, tzinfo=datetime.timezone.utc)))
    fails("upload.refused_id", lambda: sg.upload("Shot", 987654, short))
    fails("upload.empty", lambda: sg.upload("Shot", 1, written("empty", b"")))
    step("upload.found", sg.find("Attachment", [["attachment_links", "is", {"type": "Shot", "id": 2}]],
         ["display_name", "this_file", "file_size", "filename", "created_by", "attachment_links"], [{"field_name": "id", "direction": "asc"}]))


def written(name, data):
    path = os.path.join(folder, name)
    with open(path, "wb") as f:
        f.write(data)
    return path


def thumbnails(sg):
    step("thumbnail", sg.upload_thumbnail("Shot", 1, image("thumb.png", 1)))
    step("thumbnail.field", sg.upload("Shot", 4, image("field.png", 2), field_name="image"))
    step("filmstrip", sg.upload_filmstrip_thumbnail("Version", 1, image("film.png", 3)))
    step("share.source", sg.share_thumbnail([{"type": "Shot", "id": 2}, {"type": "Asset", "id": 1}], source_entity={"type": "Shot", "id": 1}))
    step("share.path", sg.share_thumbnail([{"type": "Shot", "id": 3}, {"type": "Shot", "id": 5}], thumbnail_path=image("share.png", 4)))
    fails("share.refused", lambda: sg.share_thumbnail([{"type": "Shot", "id": 987654}], source_entity={"type": "Shot", "id": 1}))
    rows = step("thumbnail.found", sg.find("Shot", [["id", "in", [1, 2, 3, 4]]], ["code", "image"], [{"field_name": "id", "direction": "asc"}]))
    step("thumbnail.dotted", sg.find_one("Version", [["id", "is", 1]], ["image", "filmstrip_image", "entity.Shot.image"]))
    step("thumbnail.bytes", fetch(sg, rows[0]["image"]))
    step("thumbnail.full", fetch(sg, base_url + "/thumbnail/full/Shot/1"))


def fetch(sg, url):
    """What a tool gets from a URL: with the client's own code, which adds a
    cookie where the URL is the site's."""
    return sg.download_attachment({"url": url, "type": "Attachment"})


def direct(sg):
    """To cloud storage, in one piece and in parts."""
    step("direct.info", sg.server_info.get("s3_direct_uploads_enabled"))
    step("direct.one", sg.upload(MOVIE[0], MOVIE[1], made("one piece.mov", 70000, 5), "sg_uploaded_movie", display_name="A movie", tag_list="hero"))
    size = int(options.get("large", "41000001"))
    step("direct.parts", sg.upload(MOVIE[0], 2, made("in parts — 日本.mov", size, 6), "sg_uploaded_movie"))
    step("direct.found", sg.find("Version", [["id", "in", [1, 2]]], ["sg_uploaded_movie"], [{"field_name": "id", "direction": "asc"}]))


def downloads(sg):
    shot = sg.find("Attachment", [["attachment_links", "is", {"type": "Shot", "id": 2}]], ["this_file"], [{"field_name": "id", "direction": "asc"}])
    first = shot[0]
    step("download.id", sg.download_attachment(first["id"]))
    step("download.attachment_id", sg.download_attachment(attachment_id=first["id"]))
    step("download.entity", sg.download_attachment({"type": "Attachment", "id": first["id"]}))
    step("download.dict", sg.download_attachment(first["this_file"]))
    step("download.none", sg.download_attachment(None))
    movies = sg.find("Version", [["id", "in", [1, 2]]], ["sg_uploaded_movie"], [{"field_name": "id", "direction": "asc"}])
    for row in movies:
        to = os.path.join(folder, "got %d.mov" % row["id"])
        step("download.path %d" % row["id"], os.path.basename(sg.download_attachment(row["sg_uploaded_movie"], file_path=to)))
        with open(to, "rb") as f:
            step("download.file %d" % row["id"], f.read())
    movie = movies[0]["sg_uploaded_movie"]
    step("download.url.id", sg.get_attachment_download_url(movie["id"]))
    step("download.url.entity", sg.get_attachment_download_url({"type": "Attachment", "id": movie["id"]}))
    step("download.url.dict", sg.get_attachment_download_url(movie))
    step("download.url.none", sg.get_attachment_download_url(None))
    fails("download.unknown", lambda: sg.download_attachment(987654))
    fails("download.no_url", lambda: sg.download_attachment({"type": "Shot", "id": 1}))


def copies(sg):
    """Links that were read are written elsewhere, and read again."""
    movie = sg.find_one("Version", [["id", "is", 1]], ["sg_uploaded_movie"])["sg_uploaded_movie"]
    page = {"url": "https://wiki.invalid/file_serve/attachment/1", "name": "a page"}
    step("copy.web", sg.update("Version", 3, {"sg_uploaded_movie": page}))
    step("copy.web.read", sg.find_one("Version", [["id", "is", 3]], ["sg_uploaded_movie"]))
    step("copy", sg.update("Version", 4, {"sg_uploaded_movie": {"url": movie["url"], "name": movie["name"]}, "description": "see " + "/file_serve/attachment/1"}))
    step("copy.read", sg.find_one("Version", [["id", "is", 4]], ["sg_uploaded_movie", "description"]))


def sessions(sg):
    token = sg.get_session_token()
    step("session", isinstance(token, str) and len(token) > 8 and token != key)
    second = connect(script_name=None, api_key=None, session_token=token)
    shot = step("session.create", second.create("Shot", {"code": "by a session", "project": FILM}))
    step("session.find", second.find_one("Shot", [["id", "is", shot["id"]]], ["code", "created_by"]))
    step("session.upload", second.upload("Shot", shot["id"], made("session.txt", 5000, 8)))
    step("session.thumbnail", second.upload_thumbnail("Shot", shot["id"], image("session.png", 5)))
    step("session.share", second.share_thumbnail([{"type": "Shot", "id": 5}], source_entity={"type": "Shot", "id": shot["id"]}))
    step("session.direct", second.upload("Version", 5, made("session.mov", 6000, 9), "sg_uploaded_movie"))
    step("session.download", second.download_attachment(second.find_one("Version", [["id", "is", 5]], ["sg_uploaded_movie"])["sg_uploaded_movie"]))
    step("session.download.id", second.download_attachment(results["upload.record"]))
    step("session.again", isinstance(second.get_session_token(), str))
    probe = shotgun_api3.Shotgun(base_url, session_token="dummy", connect=False, ca_certs=options.get("ca"))
    step("session.dummy", sorted(probe.info()))
    marked = connect()
    marked.set_session_uuid("5a1d49b0-0c69-11e7-a24c-003ee1c0d0c2")
    step("session_uuid.upload", marked.upload("Shot", 6, made("marked.txt", 100, 10)))
    step("session_uuid.download", marked.download_attachment(results["session_uuid.upload"]))
    if options.get("sudo"):
        person = connect(sudo_as_login=options["sudo"])
        step("sudo.upload", person.upload("Shot", 7, made("sudo.txt", 100, 11)))
        step("sudo.thumbnail", person.upload_thumbnail("Shot", 7, image("sudo.png", 6)))
        step("sudo.direct", person.upload("Version", 7, made("sudo.mov", 6000, 12), "sg_uploaded_movie"))
        step("sudo.found", sg.find_one("Attachment", [["id", "is", results["sudo.upload"]]], ["created_by", "display_name"]))
        step("sudo.download", person.download_attachment(results["sudo.upload"]))
    step("events", sg.find("EventLogEntry", [], ["event_type", "attribute_name", "entity", "user", "session_uuid"], [{"field_name": "id", "direction": "asc"}]))


def main():
    sg = connect()
    uploads(sg)
    thumbnails(sg)
    direct(sg)
    downloads(sg)
    if options.get("copy") == "yes":
        copies(sg)
    sessions(sg)
    json.dump(results, sys.stdout, sort_keys=True, indent=1, ensure_ascii=True)
    sys.stdout.write("\n")


main()
