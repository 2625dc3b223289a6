// The first line of the official TypeScript SDK (`@modelcontextprotocol/sdk`). Usage: typescript.mjs URL [MARKER]
// or, over stdio: typescript.mjs stdio MARKER COMMAND [ARGS...]. A URL that ends in /sse is spoken to over HTTP+SSE.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CallToolResultSchema,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { answers, capabilities, exercise, open } from "./exercise.mjs";

const client = new Client({ name: "typescript-sdk-1", version: "1" }, { capabilities });
client.setRequestHandler(CreateMessageRequestSchema, answers.sampling);
client.setRequestHandler(ElicitRequestSchema, answers.elicitation);
client.setRequestHandler(ListRootsRequestSchema, answers.roots);

const transport = open({
  stdio: (command, args) => new StdioClientTransport({ command, args, env: process.env }),
  sse: (url) => new SSEClientTransport(url),
  http: (url) => new StreamableHTTPClientTransport(url),
});
await client.connect(transport);
await exercise(client, transport, (params, options) => client.callTool(params, CallToolResultSchema, options));
