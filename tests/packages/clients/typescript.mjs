// The first line of the official TypeScript SDK (`@modelcontextprotocol/sdk`). Usage: typescript.mjs URL [MARKER]

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CallToolResultSchema,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { answers, capabilities, exercise, url } from "./exercise.mjs";

const client = new Client({ name: "typescript-sdk-1", version: "1" }, { capabilities });
client.setRequestHandler(CreateMessageRequestSchema, answers.sampling);
client.setRequestHandler(ElicitRequestSchema, answers.elicitation);
client.setRequestHandler(ListRootsRequestSchema, answers.roots);

const transport = new StreamableHTTPClientTransport(url);
await client.connect(transport);
await exercise(client, transport, (params, options) => client.callTool(params, CallToolResultSchema, options));
