// The REST API with the real client, shotgun-nodejs, in every call that it has,
// and the routes that it has no method for by its request().
//
// Usage: rest.mjs BASE_URL SCRIPT_NAME [OPTION=VALUE ...] < key
// The key is the first line of stdin. Options: uuid=UUID and sudo=LOGIN (of the
// token), base=/api/v1.1 (the prefix), download=no (leave downloads out: at a
// site without storage they need a cookie).
// NODE_PATH names the folder of the client, NODE_EXTRA_CA_CERTS what to trust.
//
// Prints one JSON object: step -> result. The site must be freshly seeded
// (flowsite.Demo) and have a fixed clock. Origins and ids of errors are not
// printed, so that the output is the same at the site and through a proxy.
// Exits 0 when every step answered.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { ShotgunApiClient } = createRequire(import.meta.url)("shotgun-nodejs");
const [siteUrl, script, ...rest] = process.argv.slice(2);
const options = Object.fromEntries(rest.map((arg) => arg.split(/=(.*)/s).slice(0, 2)));
const key = readFileSync(0, "utf8").split("\n")[0];
const apiBasePath = options.base ?? "/api/v1";
const results = {};

// place is a URL without what differs between two runs.
function place(text) {
  const url = new URL(text);
  let path = url.pathname;
  let where = "ELSEWHERE";
  if (text.startsWith(siteUrl + "/storage/")) path = "/" + path.split("/").slice(4).join("/");
  else if (text.startsWith(siteUrl + "/")) where = "SITE";
  const names = [...url.searchParams.keys()].sort();
  return where + path + (names.length ? "?" + names.join("&") : "");
}

function plain(value) {
  if (typeof value === "string" && /^https?:\/\//.test(value)) return place(value);
  if (value instanceof Uint8Array) return `${value.length} bytes ${createHash("sha256").update(value).digest("hex")}`;
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === "object")
    return Object.fromEntries(Object.keys(value).sort().map((name) => [name, plain(value[name])]));
  return value;
}

function step(name, value) {
  if (name in results) throw new Error(name + " twice");
  results[name] = plain(value === undefined ? null : value);
  return value;
}

// fails keeps the status and the errors of a request that has to fail, without
// the ids of those errors.
async function fails(name, call) {
  try {
    await call();
  } catch (e) {
    if (!e.resp) throw e;
    const errors = (e.body?.errors ?? []).map(({ id, ...error }) => ({ ...error, hasId: typeof id === "string" && id !== "" }));
    step(name, { status: e.resp.status, errors });
    return;
  }
  throw new Error(name + " did not fail");
}

function connect(more = {}) {
  return new ShotgunApiClient({
    siteUrl,
    apiBasePath,
    credentials: {
      grant_type: "client_credentials",
      client_id: script,
      client_secret: key,
      ...(options.uuid ? { session_uuid: options.uuid } : {}),
      ...more,
    },
  });
}

const claims = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());

// lives says of a token what clients look at.
function lives(token) {
  return { segments: token.split(".").length, ends: Number.isInteger(claims(token).exp) };
}

const project = { type: "Project", id: 65 };

async function login() {
  const client = connect();
  const first = await client.connect();
  step("login", { type: first.token_type, expires: first.expires_in, names: Object.keys(first).sort() });
  step("login.access", lives(first.access_token));
  step("login.refresh", lives(first.refresh_token));
  const second = await client.refreshToken();
  step("refresh", [second.access_token !== first.access_token, lives(second.access_token), lives(second.refresh_token)]);
  step("refresh.used", (await client.entityRead({ entity: "Shot", entityId: 1, fields: "code" })).attributes);
  client.tokenExpirationTimestamp = 0; // it refreshes by itself
  step("refresh.itself", (await client.entityRead({ entity: "Shot", entityId: 1, fields: "code" })).id);
  return client;
}

async function records(client) {
  const made = step("create", await client.entityCreate({
    entity: "Shot",
    data: { code: "nåïve — 日本語 <&>", project, assets: [{ type: "Asset", id: 1 }], sg_cut_in: 1001, sg_bid: 12.5 },
  }));
  step("read", await client.entityRead({ entity: "Shot", entityId: made.id, fields: ["code", "project", "assets", "sg_sequence.Sequence.code"] }));
  step("update", await client.entityUpdate({ entity: "Shot", entityId: made.id, data: { description: "line one\nline \"two\"" } }));
  step("update.mode", await client.entityUpdate({
    entity: "shots", entityId: made.id, data: { assets: { multi_entity_update_mode: "add", value: [{ type: "Asset", id: 2 }] } },
  }));
  step("delete", await client.entityDelete({ entity: "Shot", entityId: made.id }));
  await fails("read.deleted", () => client.entityRead({ entity: "Shot", entityId: made.id }));
  step("revive", await client.entityRevive({ entity: "Shot", entityId: made.id }));
  step("batch", await client.entityBatch({
    requests: [
      { request_type: "create", entity: "Task", data: { content: "Comp", project, entity: { type: "Shot", id: made.id } } },
      { request_type: "update", entity: "Shot", record_id: 2, data: { sg_status_list: "fin" }, options: { fields: ["code"] } },
      { request_type: "delete", entity: "Shot", record_id: 3 },
    ],
  }));
  await fails("batch.undone", () => client.entityBatch({
    requests: [
      { request_type: "update", entity: "Shot", record_id: 4, data: { code: "never" } },
      { request_type: "delete", entity: "Shot", record_id: 987654 },
    ],
  }));
  step("batch.undone.read", await client.entityRead({ entity: "Shot", entityId: 4, fields: "code" }));
  await fails("create.refused", () => client.entityCreate({ entity: "Shot", data: { sg_cut_in: "not a number", project } }));
  await fails("unknown.id", () => client.entityRead({ entity: "Shot", entityId: 987654 }));
  return made.id;
}

async function searches(client) {
  const page = await client.entityReadAll({ entity: "Shot", filter: { sg_status_list: "ip,fin" }, fields: ["code", "sg_status_list"], sort: "-code", pageSize: 3 });
  step("readAll", { data: page.data, links: page.links });
  const next = await page.getNext({ client });
  step("readAll.next", next && { data: next.data, links: next.links });
  for (const entity of ["shots", "Shot"])
    step("spelling " + entity, (await client.entityReadAll({ entity, fields: "code", pageSize: 1 })).data);
  step("spelling human_users", (await client.entityReadAll({ entity: "human_users", fields: "login", pageSize: 2 })).data);
  step("dotted", (await client.entityReadAll({
    entity: "Task", filter: { "entity.Shot.code": "harbour_sq01_0010" }, fields: "content,entity.Shot.code",
  })).data);
  step("search.array", (await client.entitySearch({
    entity: "Shot", filters: [["code", "starts_with", "harbour"], ["sg_status_list", "is", "fin"]], fields: ["code"], sort: "code", pageSize: 2,
  })).data);
  step("search.hash", (await client.entitySearch({
    entity: "Shot", fields: ["code"], sort: ["-code"],
    filters: { logical_operator: "or", conditions: [["code", "is", "harbour_sq01_0010"], { logical_operator: "and", conditions: [["sg_cut_in", "is", 1001], ["sg_status_list", "is", "rev"]] }] },
  })).data);
  step("all fields", Object.keys((await client.entityRead({ entity: "Shot", entityId: 1, fields: "*" })).attributes).sort());
  await fails("search.refused", () => client.entitySearch({ entity: "Shot", filters: [["no_such_field", "is", 1]] }));
}

const V = (kind) => ({ "Content-Type": `application/vnd+shotgun.api3_${kind}+json` });

async function routes(client, shot) {
  const ask = async (name, request) => step(name, await client.request(request));
  const get = (name, path, query) => ask(name, { path, query });
  const post = (name, path, body, headers) => ask(name, { method: "POST", path, body, headers });
  step("info", Object.keys((await client.request({ path: "/" })).data).sort());
  await get("relationships", `/entity/shots/${shot}/relationships/assets`);
  await post("summarize", "/entity/tasks/_summarize", {
    filters: [["project", "is", project]], summary_fields: [{ field: "id", type: "count" }],
    grouping: [{ field: "sg_status_list", type: "exact", direction: "asc" }],
  }, V("array"));
  await post("text_search", "/entity/_text_search", { text: "sq01_0020", entity_types: { Shot: [["project", "is", project]] }, page: { size: 5, number: 1 } }, V("array"));
  await get("activity_stream", `/entity/shots/${shot}/activity_stream`, { limit: 3 });
  await post("follow", "/entity/human_users/1/follow", { entities: [{ record_id: shot, entity: "Shot" }] });
  await get("followers", `/entity/shots/${shot}/followers`);
  await get("following", "/entity/human_users/1/following", { entity: "Shot" });
  await ask("unfollow", { method: "PUT", path: `/entity/shots/${shot}/unfollow`, body: { user_id: 1 } });
  await get("thread", "/entity/notes/700/thread_contents");
  await ask("last_accessed", { method: "PUT", path: "/entity/projects/65/_update_last_accessed", body: { user_id: 1 } });
  await post("hierarchy.expand", "/hierarchy/_expand", { path: "/Project/65", seed_entity_field: "entity", entity_fields: { Shot: ["code"] } });
  await post("hierarchy.search", "/hierarchy/_search", { root_path: "/Project/65", search_criteria: { entity: { type: "Shot", id: 5 } } });
  step("preferences", await client.preferencesGet({ names: ["hours_per_day", "date_component_order"] }));
  await ask("schedule.set", { method: "PUT", path: "/schedule/work_day_rules", body: { date: "2026-03-04", working: false, description: "Holiday", project_id: 65 } });
  await get("schedule", "/schedule/work_day_rules", { start_date: "2026-03-01", end_date: "2026-03-05", project_id: 65 });
}

async function schema(client) {
  step("schema", Object.keys(await client.schemaGet({})).sort());
  step("schema.entity", await client.schemaGet({ entity: "Shot" }));
  step("schema.fields", Object.keys(await client.schemaGet({ entity: "Shot", isFieldsWanted: true })).sort());
  step("schema.field", (await client.request({ path: "/schema/Shot/fields/code" })).data);
  step("schema.create", await client.schemaFieldCreate({
    entity: "Shot", schemaFieldDefinition: { data_type: "text", properties: [{ property_name: "name", value: "Lead Åse" }] },
  }));
  step("schema.update", await client.schemaFieldUpdate({
    entity: "Shot", fieldName: "sg_lead_se", schemaFieldDefinition: { data_type: "text", properties: { description: "who leads" } },
  }).catch((e) => e.body?.errors?.map(({ status, title, detail }) => ({ status, title, detail }))));
}

// fetched is what a URL of a file gives, by the client's own request.
async function fetched(client, path, headers) {
  const got = await client.requestRaw({ path, headers });
  return [got.status, new Uint8Array(await got.arrayBuffer()), got.headers.get("content-range")];
}

async function files(client) {
  const bytes = new Uint8Array(70000).map((_, i) => (i * 31 + (i >> 8)) % 256);
  const upload = (entity, entityId, fieldName, targetFileName, data) => client.entityItemUpload({
    entity, entityId, fieldName, targetFileName, additionalUploadData: data,
    uploadFileBlob: new Blob([bytes], { type: "video/quicktime" }),
  });
  step("upload.field", await upload("Version", 1, "sg_uploaded_movie", "måvie.mov", { display_name: "A movie" }));
  step("upload.record", await upload("notes", 700, undefined, "plate.exr", {}));
  const version = step("upload.read", await client.entityRead({ entity: "Version", entityId: 1, fields: "sg_uploaded_movie" }));
  step("upload.found", (await client.entitySearch({ entity: "Attachment", filters: [["attachment_links", "is", { type: "Note", id: 700 }]], fields: ["display_name", "file_size"] })).data);
  await fails("upload.refused", () => upload("Note", 987654, undefined, "x.mov", {}));
  if (options.download === "no") return;
  await fails("download.none", () => client.request({ path: "/entity/versions/3/sg_uploaded_movie?alt=original" }));
  step("download", await fetched(client, "/entity/versions/1/sg_uploaded_movie?alt=original"));
  step("download.range", await fetched(client, "/entity/versions/1/sg_uploaded_movie?alt=original", { Range: "bytes=100-199" }));
  const url = version.attributes.sg_uploaded_movie.url;
  const direct = await fetch(url, { headers: url.startsWith(siteUrl) ? { Authorization: await client.getAuthorizationHeader() } : {} });
  step("download.url", [direct.status, new Uint8Array(await direct.arrayBuffer())]);
}

async function people() {
  if (!options.sudo) return;
  const client = connect({ scope: "sudo_as_login:" + options.sudo });
  step("sudo", (await client.entityUpdate({ entity: "Asset", entityId: 2, data: { description: "by somebody else" } })).id);
  step("sudo.event", (await client.entitySearch({
    entity: "EventLogEntry", filters: [["entity", "is", { type: "Asset", id: 2 }]], fields: ["event_type", "user", "meta", "session_uuid"], sort: "id",
  })).data);
  // The site refuses it a token, Stagedoor the first call: it asks then.
  await connect({ scope: "sudo_as_login:nobody" }).entityRead({ entity: "Shot", entityId: 1 }).then(
    () => { throw new Error("nobody read"); },
    () => step("sudo.refused", true),
  );
}

const client = await login();
const shot = await records(client);
await searches(client);
await routes(client, shot);
await schema(client);
await files(client);
await people();
console.log(JSON.stringify(results, null, 1));
