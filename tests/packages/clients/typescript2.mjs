// The second line of the official TypeScript SDK (`@modelcontextprotocol/client`). Usage: typescript2.mjs URL [MARKER]
// or, over stdio: typescript2.mjs stdio MARKER COMMAND [ARGS...]. A URL that ends in /sse is spoken to over HTTP+SSE.
//
// `auto` asks for the newest revision first and falls back to the handshake: what a client that knows both eras does.

import { Client, SSEClientTransport, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { answers, capabilities, exercise, open } from "./exercise.mjs";

const client = new Client(
  { name: "typescript-sdk-2", version: "1" },
  { capabilities, versionNegotiation: { mode: "auto" } },
);
client.setRequestHandler("sampling/createMessage", answers.sampling);
client.setRequestHandler("elicitation/create", answers.elicitation);
client.setRequestHandler("roots/list", answers.roots);

const transport = open({
  stdio: (command, args) => new StdioClientTransport({ command, args, env: process.env }),
  sse: (url) => new SSEClientTransport(url),
  http: (url) => new StreamableHTTPClientTransport(url),
});
await client.connect(transport);
await exercise(client, transport, (params, options) => client.callTool(params, options));
