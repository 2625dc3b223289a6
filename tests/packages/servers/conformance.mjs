// The server that the conformance suite asks for, on the official TypeScript SDK (its first line: the legacy era).
// Usage: conformance.mjs stdio | http
//
// Over stdio it stands behind Fairlead; over HTTP (on PORT, or a free port; printed as the first line) it is the direct baseline
// that Fairlead is compared with. Names, texts and schemas are those that the suite's scenarios call for. The low-level
// `Server` is used because the schemas have to be listed exactly as they are written.

import { randomUUID } from "node:crypto";
import { createServer as createHttpServer } from "node:http";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import {
  CallToolRequestSchema,
  CompleteRequestSchema,
  CreateMessageResultSchema,
  ElicitResultSchema,
  GetPromptRequestSchema,
  ListPromptsRequestSchema,
  ListResourcesRequestSchema,
  ListResourceTemplatesRequestSchema,
  ListToolsRequestSchema,
  ReadResourceRequestSchema,
  SetLevelRequestSchema,
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";

const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
const WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=";

const text = (value) => ({ type: "text", text: value });
const image = { type: "image", data: PNG, mimeType: "image/png" };
const embedded = (uri, mimeType, value) => ({ type: "resource", resource: { uri, mimeType, text: value } });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const object = (properties = {}, more = {}) => ({ type: "object", properties, ...more });

// Asks the client for input and tells what came back in the words that the suite looks for.
const elicit = async (extra, message, requestedSchema, prefix) => {
  const params = { message, requestedSchema };
  const result = await extra.sendRequest({ method: "elicitation/create", params }, ElicitResultSchema);
  return [text(`${prefix}: action=${result.action}, content=${JSON.stringify(result.content ?? {})}`)];
};

const titled = (...names) => names.map((name, place) => ({ const: `value${place + 1}`, title: name }));

// Each tool: description, schema of its arguments, and what it does.
const tools = {
  test_simple_text: ["Plain text", object(), () => [text("This is a simple text response for testing.")]],
  test_image_content: ["An image", object(), () => [image]],
  test_audio_content: ["A sound", object(), () => [{ type: "audio", data: WAV, mimeType: "audio/wav" }]],
  test_embedded_resource: [
    "An embedded resource",
    object(),
    () => [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")],
  ],
  test_multiple_content_types: [
    "Text, an image and a resource",
    object(),
    () => [
      text("Multiple content types test:"),
      image,
      embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ],
  ],
  test_tool_with_logging: [
    "Logs while it works",
    object(),
    async (_args, extra) => {
      for (const data of ["Tool execution started", "Tool processing data", "Tool execution completed"]) {
        await extra.sendNotification({ method: "notifications/message", params: { level: "info", data } });
        await pause(50);
      }
      return [text("Tool with logging executed successfully")];
    },
  ],
  test_tool_with_progress: [
    "Reports progress",
    object(),
    async (_args, extra) => {
      const progressToken = extra._meta?.progressToken;
      for (const progress of progressToken === undefined ? [] : [0, 50, 100]) {
        const params = { progressToken, progress, total: 100, message: `Completed step ${progress} of 100` };
        await extra.sendNotification({ method: "notifications/progress", params });
        await pause(50);
      }
      return [text(String(progressToken ?? "no-progress-token"))];
    },
  ],
  test_error_handling: [
    "Fails",
    object(),
    () => {
      throw new Error("This tool intentionally returns an error for testing");
    },
  ],
  test_reconnection: [
    "Closes the stream in the middle of the call",
    object(),
    async (_args, extra) => {
      extra.closeSSEStream?.();
      await pause(100);
      return [text("Reconnection test completed successfully.")];
    },
  ],
  test_sampling: [
    "Asks the client for a completion",
    object({ prompt: { type: "string" } }, { required: ["prompt"] }),
    async (args, extra) => {
      const messages = [{ role: "user", content: text(args.prompt) }];
      const request = { method: "sampling/createMessage", params: { messages, maxTokens: 100 } };
      const result = await extra.sendRequest(request, CreateMessageResultSchema);
      return [text(`LLM response: ${result.content.text}`)];
    },
  ],
  test_elicitation: [
    "Asks the user",
    object({ message: { type: "string" } }, { required: ["message"] }),
    (args, extra) =>
      elicit(extra, args.message, object({ response: { type: "string" } }, { required: ["response"] }), "User response"),
  ],
  test_elicitation_sep1034_defaults: [
    "Asks the user, with defaults",
    object(),
    (_args, extra) =>
      elicit(
        extra,
        "Please review the fields",
        object(
          {
            name: { type: "string", default: "John Doe" },
            age: { type: "integer", default: 30 },
            score: { type: "number", default: 95.5 },
            status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
            verified: { type: "boolean", default: true },
          },
          { required: [] },
        ),
        "Elicitation completed",
      ),
  ],
  test_elicitation_sep1330_enums: [
    "Asks the user to choose",
    object(),
    (_args, extra) =>
      elicit(
        extra,
        "Please choose",
        object(
          {
            untitledSingle: { type: "string", enum: ["option1", "option2", "option3"] },
            titledSingle: { type: "string", oneOf: titled("First Option", "Second Option", "Third Option") },
            legacyEnum: {
              type: "string",
              enum: ["opt1", "opt2", "opt3"],
              enumNames: ["Option One", "Option Two", "Option Three"],
            },
            untitledMulti: {
              type: "array",
              minItems: 1,
              maxItems: 3,
              items: { type: "string", enum: ["option1", "option2", "option3"] },
            },
            titledMulti: {
              type: "array",
              minItems: 1,
              maxItems: 3,
              items: { anyOf: titled("First Choice", "Second Choice", "Third Choice") },
            },
          },
          { required: [] },
        ),
        "Elicitation completed",
      ),
  ],
  json_schema_2020_12_tool: [
    "A schema with the vocabulary of 2020-12",
    {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      type: "object",
      $defs: {
        address: {
          $anchor: "addressDef",
          type: "object",
          properties: { street: { type: "string" }, city: { type: "string" } },
        },
      },
      properties: {
        name: { type: "string" },
        address: { $ref: "#/$defs/address" },
        contactMethod: { type: "string", enum: ["phone", "email"] },
        phone: { type: "string" },
        email: { type: "string" },
      },
      allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
      if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
      then: { required: ["phone"] },
      else: { required: ["email"] },
      additionalProperties: false,
    },
    (args) => [text(`JSON Schema 2020-12 tool called with: ${JSON.stringify(args)}`)],
  ],
};

const resources = {
  "test://static-text": { mimeType: "text/plain", text: "This is the content of the static text resource." },
  "test://static-binary": { mimeType: "image/png", blob: PNG },
  "test://watched-resource": { mimeType: "text/plain", text: "Watched resource content" },
};

// Each prompt: its arguments, and the contents of its messages.
const prompts = {
  test_simple_prompt: [[], () => [text("This is a simple prompt for testing.")]],
  test_prompt_with_arguments: [
    ["arg1", "arg2"],
    ({ arg1, arg2 }) => [text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)],
  ],
  test_prompt_with_embedded_resource: [
    ["resourceUri"],
    ({ resourceUri }) => [
      embedded(resourceUri, "text/plain", "Embedded resource content for testing."),
      text("Please process the embedded resource above."),
    ],
  ],
  test_prompt_with_image: [[], () => [image, text("Please analyze the image above.")]],
};

function build() {
  const server = new Server(
    { name: "conformance-server", version: "1.0.0" },
    {
      capabilities: {
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        prompts: { listChanged: true },
        logging: {},
        completions: {},
      },
    },
  );
  const on = (schema, handle) => server.setRequestHandler(schema, handle);
  on(ListToolsRequestSchema, () => ({
    tools: Object.entries(tools).map(([name, [description, inputSchema]]) => ({ name, description, inputSchema })),
  }));
  on(CallToolRequestSchema, async ({ params }, extra) => {
    try {
      return { content: await tools[params.name][2](params.arguments ?? {}, extra) };
    } catch (error) {
      return { isError: true, content: [text(error.message)] };
    }
  });
  on(ListResourcesRequestSchema, () => ({
    resources: Object.entries(resources).map(([uri, { mimeType }]) => ({ uri, name: uri, mimeType })),
  }));
  on(ListResourceTemplatesRequestSchema, () => ({
    resourceTemplates: [
      { uriTemplate: "test://template/{id}/data", name: "template", mimeType: "application/json" },
    ],
  }));
  on(ReadResourceRequestSchema, ({ params: { uri } }) => {
    const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
    const generated = { mimeType: "application/json", text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) };
    return { contents: [{ uri, ...(id ? generated : resources[uri]) }] };
  });
  on(SubscribeRequestSchema, () => ({}));
  on(UnsubscribeRequestSchema, () => ({}));
  on(ListPromptsRequestSchema, () => ({
    prompts: Object.entries(prompts).map(([name, [names]]) => ({
      name,
      description: `A prompt with ${names.length} arguments`,
      arguments: names.map((argument) => ({ name: argument, required: true })),
    })),
  }));
  on(GetPromptRequestSchema, ({ params }) => ({
    messages: prompts[params.name][1](params.arguments ?? {}).map((content) => ({ role: "user", content })),
  }));
  on(SetLevelRequestSchema, () => ({}));
  on(CompleteRequestSchema, () => ({ completion: { values: [], total: 0, hasMore: false } }));
  return server;
}

// What a resumable stream is replayed from.
class Events {
  #events = [];
  async storeEvent(stream, message) {
    const id = `${stream}::${this.#events.length}`;
    this.#events.push({ id, stream, message });
    return id;
  }
  async replayEventsAfter(last, { send }) {
    const place = this.#events.findIndex(({ id }) => id === last);
    const stream = this.#events[place]?.stream;
    for (const event of this.#events.slice(place + 1)) {
      if (event.stream === stream && Object.keys(event.message).length > 0) await send(event.id, event.message);
    }
    return stream;
  }
}

function http() {
  const sessions = new Map();
  const refuse = (response, status, message) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify({ jsonrpc: "2.0", error: { code: -32000, message }, id: null }));
  };
  const listener = createHttpServer(async (request, response) => {
    const { hostname } = new URL(`http://${request.headers.host}`);
    const origin = request.headers.origin;
    const local = ["localhost", "127.0.0.1", "[::1]"];
    if (!local.includes(hostname) || (origin && !local.includes(new URL(origin).hostname))) {
      return refuse(response, 403, "not a name of this machine");
    }
    const known = request.headers["mcp-session-id"];
    if (known) {
      const transport = sessions.get(known);
      return transport ? transport.handleRequest(request, response) : refuse(response, 404, "Session not found");
    }
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: new Events(),
      retryInterval: 500,
      onsessioninitialized: (id) => sessions.set(id, transport),
      onsessionclosed: (id) => sessions.delete(id),
    });
    await build().connect(transport);
    await transport.handleRequest(request, response);
  });
  listener.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => console.log(JSON.stringify({ port: listener.address().port })));
}

if (process.argv[2] === "http") http();
else await build().connect(new StdioServerTransport());
