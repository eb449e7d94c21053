// What the user of the real REST client reads when a call is refused, and how
// often the client sends it.
//
// Usage: refused.mjs BASE_URL; NODE_PATH names the folder of the client.
// Prints one JSON object: what was tried -> status, message, sent.
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
// Counts what leaves: the client takes node-fetch from the cache of modules.
let sent = 0;
const fetchPath = require.resolve("node-fetch");
const real = require(fetchPath);
const counting = (...args) => { sent++; return real(...args); };
require.cache[fetchPath].exports = Object.assign(counting, real);
const { ShotgunApiClient } = require("shotgun-nodejs");
const [siteUrl] = process.argv.slice(2);
const results = {};

function connect(credentials) {
  return new ShotgunApiClient({ siteUrl, credentials: { grant_type: "client_credentials", client_id: "x", client_secret: "x", ...credentials } });
}

async function refused(what, call) {
  sent = 0;
  try {
    await call();
  } catch (e) {
    const message = e.body?.errors?.map(({ title, detail }) => `${title} ${detail ?? ""}`).join("; ") ?? e.message;
    results[what] = { status: e.resp?.status ?? 0, message, sent };
    return;
  }
  throw new Error(what + " was not refused");
}

// asked is a token request by the client's own fetch, whose answer it shows in
// part only.
async function asked(query) {
  const resp = await connect().fetchWithRetry(new URL(`${siteUrl}/api/v1/auth/access_token?${query}`), { method: "POST" });
  throw Object.assign(new Error("refused"), { resp, body: await resp.json() });
}

const client = connect();
await client.connect();
await refused("a rule", () => client.entityDelete({ entity: "Shot", entityId: 1 }));
await refused("a field", () => client.entityRead({ entity: "HumanUser", entityId: 1, fields: "password_proxy" }));
await refused("a login", () => asked("grant_type=client_credentials&client_id=x&client_secret=x&scope=sudo_as_login:ann"));
await refused("a password", () => asked("grant_type=password&username=ann&password=x"));
await refused("the site", () => client.entityCreate({ entity: "Playlist", data: { code: "Monday" } }));
client.token = { ...client.token, access_token: client.token.access_token.slice(0, -4) + "AAAA" };
await refused("a handle", () => client.entityRead({ entity: "Shot", entityId: 1 }));
console.log(JSON.stringify(results));
