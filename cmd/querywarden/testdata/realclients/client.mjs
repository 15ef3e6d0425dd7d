// A client made of the TypeScript SDK: it connects, lists the tools, calls one,
// and prints what it saw as JSON.
//
//   node client.mjs URL v1|v2 bearer TOKEN
//   node client.mjs URL v1|v2 oauth dcr|cimd|CLIENT-ID
//   node client.mjs URL v1|v2 stdio COMMAND ARG…
import { randomUUID } from "node:crypto";
import { pathToFileURL } from "node:url";

const [url, version, how, ...rest] = process.argv.slice(2);
const at = (path) => import(pathToFileURL(`${process.env.MODULES}/${path}`));

let Client, HTTP, Stdio;
const options = {};
if (version === "v1") {
  ({ Client } = await at("@modelcontextprotocol/sdk/dist/esm/client/index.js"));
  ({ StreamableHTTPClientTransport: HTTP } = await at("@modelcontextprotocol/sdk/dist/esm/client/streamableHttp.js"));
  ({ StdioClientTransport: Stdio } = await at("@modelcontextprotocol/sdk/dist/esm/client/stdio.js"));
} else {
  ({ Client, StreamableHTTPClientTransport: HTTP } = await at("@modelcontextprotocol/client/dist/index.mjs"));
  ({ StdioClientTransport: Stdio } = await at("@modelcontextprotocol/client/dist/stdio.mjs"));
  options.versionNegotiation = { mode: "auto" };
}

// provider goes through a sign-in by itself: it follows the redirects that a
// browser would follow, up to the one that comes back here.
function provider(registration) {
  const redirect = "http://127.0.0.1:3999/callback";
  const kept = {};
  const p = {
    redirectUrl: redirect,
    clientMetadata: { client_name: "typescript", redirect_uris: [redirect], grant_types: ["authorization_code", "refresh_token"], response_types: ["code"], token_endpoint_auth_method: "none" },
    clientInformation: () => (registration === "dcr" || registration === "cimd" ? kept.client : { client_id: registration }),
    saveClientInformation: (v) => { kept.client = v; },
    tokens: () => kept.tokens,
    saveTokens: (v) => { kept.tokens = v; },
    codeVerifier: () => kept.verifier,
    saveCodeVerifier: (v) => { kept.verifier = v; },
    state: () => (kept.state = randomUUID()),
    discoveryState: () => kept.discovery,
    saveDiscoveryState: (v) => { kept.discovery = v; },
    async redirectToAuthorization(place) {
      kept.asked = Object.fromEntries(new URL(place).searchParams);
      let next = new URL(place);
      for (let hops = 0; hops < 10; hops++) {
        const res = await fetch(next, { redirect: "manual" });
        next = new URL(res.headers.get("location"), next);
        if (next.href.startsWith(redirect)) {
          kept.back = next.searchParams;
          return;
        }
      }
      throw new Error("the sign-in does not come back");
    },
    kept,
  };
  if (registration === "cimd") p.clientMetadataUrl = "https://client.example.com/metadata.json";
  return p;
}

const client = () => new Client({ name: "typescript", version: "1" }, options);
let c = client();
let auth;
if (how === "stdio") {
  await c.connect(new Stdio({ command: rest[0], args: rest.slice(1), env: process.env, stderr: "inherit" }));
} else if (how === "bearer") {
  await c.connect(new HTTP(new URL(url), { requestInit: { headers: { Authorization: `Bearer ${rest[0]}` } } }));
} else {
  auth = provider(rest[0]);
  const first = new HTTP(new URL(url), { authProvider: auth });
  try {
    await c.connect(first);
    throw new Error("nobody asked for a token");
  } catch (err) {
    if (!auth.kept.back) throw err;
  }
  await first.finishAuth(version === "v1" ? auth.kept.back.get("code") : auth.kept.back);
  c = client();
  await c.connect(new HTTP(new URL(url), { authProvider: auth }));
}
const { tools } = await c.listTools();
let progress = 0;
const answer = await c.callTool({ name: "query", arguments: { sql: "select email from customers order by id limit 1" } }, ...(version === "v1" ? [undefined] : []), { onprogress: () => { progress++; } });
console.log(JSON.stringify({
  protocol: (c.getNegotiatedProtocolVersion?.() ?? c.transport?.protocolVersion ?? ""),
  tools: tools.map((t) => t.name).sort(),
  rows: answer.structuredContent.rows,
  status: answer.structuredContent.status,
  client_id: auth?.kept.asked.client_id,
  resource: auth?.kept.asked.resource,
}));
await c.close();
process.exit(0);
