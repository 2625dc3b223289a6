// The second line of the official TypeScript SDK (`@modelcontextprotocol/client`). Usage: typescript2.mjs URL [MARKER]
//
// `auto` asks for the newest revision first and falls back to the handshake: what a client that knows both eras does.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { answers, capabilities, endpoint, exercise } from "./exercise.mjs";

const client = new Client(
  { name: "typescript-sdk-2", version: "1" },
  { capabilities, versionNegotiation: { mode: "auto" } },
);
client.setRequestHandler("sampling/createMessage", answers.sampling);
client.setRequestHandler("elicitation/create", answers.elicitation);
client.setRequestHandler("roots/list", answers.roots);

const transport = new StreamableHTTPClientTransport(new URL(endpoint));
await client.connect(transport);
await exercise(client, transport, (params, options) => client.callTool(params, options));
