// The first line of the official TypeScript SDK (`@modelcontextprotocol/sdk`). Usage: typescript.mjs URL [MARKER]
// or, over stdio: typescript.mjs stdio MARKER COMMAND [ARGS...]

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CallToolResultSchema,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { answers, capabilities, command, endpoint, exercise } from "./exercise.mjs";

const client = new Client({ name: "typescript-sdk-1", version: "1" }, { capabilities });
client.setRequestHandler(CreateMessageRequestSchema, answers.sampling);
client.setRequestHandler(ElicitRequestSchema, answers.elicitation);
client.setRequestHandler(ListRootsRequestSchema, answers.roots);

const transport =
  endpoint === "stdio"
    ? new StdioClientTransport({ command: command[0], args: command.slice(1), env: process.env })
    : new StreamableHTTPClientTransport(new URL(endpoint));
await client.connect(transport);
await exercise(client, transport, (params, options) => client.callTool(params, CallToolResultSchema, options));
