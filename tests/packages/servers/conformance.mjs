// The server that the conformance suite asks for, on the official TypeScript SDK, which speaks both eras of MCP.
// Usage: conformance.mjs stdio | http   (with ERA=legacy or ERA=modern it speaks only that one over stdio)
//
// Over stdio it stands behind Fairlead; over HTTP (on PORT, or a free port; printed as the first line) it is the direct baseline
// that Fairlead is compared with. Names, texts and schemas are those that the suite's scenarios call for. What a tool asks its
// client is written once, as a result that wants input: in the legacy era the SDK turns it into a request of the server.

import { randomBytes, randomUUID } from "node:crypto";
import { createServer as createHttpServer } from "node:http";
import { NodeStreamableHTTPServerTransport, toNodeHandler } from "@modelcontextprotocol/node";
import {
  acceptedContent,
  classifyInboundRequest,
  CLIENT_CAPABILITIES_META_KEY,
  createMcpHandler,
  createRequestStateCodec,
  fromJsonSchema,
  inputRequired,
  McpServer,
  ResourceTemplate,
} from "@modelcontextprotocol/server";
import { serveStdio, StdioServerTransport } from "@modelcontextprotocol/server/stdio";

const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
const WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=";

const text = (value) => ({ type: "text", text: value });
const image = { type: "image", data: PNG, mimeType: "image/png" };
const embedded = (uri, mimeType, value) => ({ type: "resource", resource: { uri, mimeType, text: value } });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const object = (properties = {}, more = {}) => ({ type: "object", properties, ...more });

// Asks the client for input and tells what came back in the words that the suite looks for.
const elicit = (context, message, requestedSchema, prefix) => {
  const answer = context.mcpReq.inputResponses?.input;
  if (answer === undefined) return inputRequired({ inputRequests: { input: inputRequired.elicit({ message, requestedSchema }) } });
  return [text(`${prefix}: action=${answer.action}, content=${JSON.stringify(answer.content ?? {})}`)];
};

// What a result that wants input carries for its server from one round to the next, sealed.
const states = createRequestStateCodec({ key: new Uint8Array(randomBytes(32)) });
const ask = (name, type, message = "Please answer") =>
  inputRequired.elicit({ message, requestedSchema: { type: "object", properties: { [name]: { type } }, required: [name] } });
const sample = (question, maxTokens = 100) =>
  inputRequired.createMessage({ messages: [{ role: "user", content: text(question) }], maxTokens });
// A tool that asks once and answers with what came back.
const once = (key, request, answer) => [
  `Asks for ${key}`,
  object(),
  (_args, { mcpReq: { inputResponses } }) => {
    const given = inputResponses && answer(inputResponses);
    return given ? [text(given)] : inputRequired({ inputRequests: { [key]: request() } });
  },
];

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
    async (_args, context) => {
      for (const data of ["Tool execution started", "Tool processing data", "Tool execution completed"]) {
        await context.mcpReq.notify({ method: "notifications/message", params: { level: "info", data } });
        await pause(50);
      }
      return [text("Tool with logging executed successfully")];
    },
  ],
  test_tool_with_progress: [
    "Reports progress",
    object(),
    async (_args, context) => {
      const progressToken = context.mcpReq._meta?.progressToken;
      for (const progress of progressToken === undefined ? [] : [0, 50, 100]) {
        const params = { progressToken, progress, total: 100, message: `Completed step ${progress} of 100` };
        await context.mcpReq.notify({ method: "notifications/progress", params });
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
    async (_args, context) => {
      context.http?.closeSSE?.();
      await pause(100);
      return [text("Reconnection test completed successfully.")];
    },
  ],
  test_sampling: [
    "Asks the client for a completion",
    object({ prompt: { type: "string" } }, { required: ["prompt"] }),
    (args, { mcpReq: { inputResponses } }) => {
      if (inputResponses?.input === undefined) return inputRequired({ inputRequests: { input: sample(args.prompt) } });
      return [text(`LLM response: ${inputResponses.input.content.text}`)];
    },
  ],
  test_elicitation: [
    "Asks the user",
    object({ message: { type: "string" } }, { required: ["message"] }),
    (args, context) =>
      elicit(context, args.message, object({ response: { type: "string" } }, { required: ["response"] }), "User response"),
  ],
  test_elicitation_sep1034_defaults: [
    "Asks the user, with defaults",
    object(),
    (_args, context) =>
      elicit(
        context,
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
    (_args, context) =>
      elicit(
        context,
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
  test_x_mcp_header: [
    "Mirrors an argument into a header",
    object({ region: { type: "string", "x-mcp-header": "Region" }, level: { type: "integer" } }),
    ({ region }) => [text(`region=${region ?? "<none>"}`)],
  ],
  test_missing_capability: once("llm_answer", () => sample("Reply with the single word: pong", 16), () => "done"),
  test_streaming_elicitation: ["Streams nothing but its result", object(), () => [text("no requests on this stream")]],
  test_logging_tool: [
    "Logs for those who want it",
    object(),
    async (_args, context) => {
      await context.mcpReq.log("info", "test_logging_tool ran");
      return [text("logged")];
    },
  ],
  test_input_required_result_elicitation: once(
    "user_name",
    () => ask("name", "string", "What is your name?"),
    (given) => {
      const name = acceptedContent(given, "user_name")?.name;
      return typeof name === "string" && `Hello, ${name}!`;
    },
  ),
  test_input_required_result_sampling: once(
    "capital_question",
    () => sample("What is the capital of France?"),
    ({ capital_question: answer }) => answer && `Sampling response: ${answer.content?.text}`,
  ),
  test_input_required_result_list_roots: once(
    "client_roots",
    () => inputRequired.listRoots(),
    ({ client_roots: answer }) => Array.isArray(answer?.roots) && `Client exposed ${answer.roots.length} root(s): ${answer.roots.map(({ uri }) => uri)}`,
  ),
  test_input_required_result_request_state: [
    "Asks with a state",
    object(),
    async (_args, { mcpReq }) => {
      if (acceptedContent(mcpReq.inputResponses, "confirm") && mcpReq.requestState()) return [text("state-ok: confirmed")];
      return inputRequired({
        inputRequests: { confirm: ask("ok", "boolean") },
        requestState: await states.mint({ nonce: randomUUID() }),
      });
    },
  ],
  test_input_required_result_multiple_inputs: [
    "Asks three things at once",
    object(),
    async (_args, { mcpReq: { inputResponses } }) => {
      const name = acceptedContent(inputResponses, "user_name")?.name;
      const greeting = inputResponses?.greeting?.content?.text;
      const roots = inputResponses?.client_roots?.roots;
      if (name && greeting && roots) return [text(`${greeting} ${name}, ${roots.length} root(s) visible`)];
      return inputRequired({
        inputRequests: {
          user_name: ask("name", "string"),
          greeting: sample("Generate a greeting", 50),
          client_roots: inputRequired.listRoots(),
        },
        requestState: await states.mint({ nonce: randomUUID() }),
      });
    },
  ],
  test_input_required_result_multi_round: [
    "Asks twice",
    object(),
    async (_args, { mcpReq }) => {
      const { round = 0, name } = mcpReq.requestState() ?? {};
      const given = (key) => Object.values(acceptedContent(mcpReq.inputResponses, key) ?? {})[0] ?? "unknown";
      if (round === 2) return [text(`Multi-round complete: ${name} likes ${given("step2")}`)];
      const next = round === 0 ? { round: 1 } : { round: 2, name: given("step1") };
      return inputRequired({
        inputRequests: round === 0 ? { step1: ask("name", "string") } : { step2: ask("color", "string") },
        requestState: await states.mint({ ...next, nonce: randomUUID() }),
      });
    },
  ],
  test_input_required_result_tampered_state: [
    "Takes no state that it has not given",
    object(),
    async (_args, { mcpReq }) => {
      if (mcpReq.requestState() && acceptedContent(mcpReq.inputResponses, "confirm")) return [text("integrity-ok")];
      return inputRequired({
        inputRequests: { confirm: ask("ok", "boolean") },
        requestState: await states.mint({ nonce: randomUUID() }),
      });
    },
  ],
  test_input_required_result_capabilities: [
    "Asks only what the client can answer",
    object(),
    (_args, { mcpReq: { inputResponses, envelope } }) => {
      const can = envelope?.[CLIENT_CAPABILITIES_META_KEY] ?? {};
      const inputRequests = {
        ...(can.elicitation && { user_name: ask("name", "string") }),
        ...(can.sampling && { greeting: sample("Generate a short greeting", 50) }),
        ...(can.roots && { client_roots: inputRequired.listRoots() }),
      };
      if (inputResponses || Object.keys(inputRequests).length === 0) return [text("answered")];
      return inputRequired({ inputRequests });
    },
  ],
  test_trigger_tool_change: [
    "Says that the tools have changed",
    object(),
    (_args, _context, server) => {
      modern.notify.toolsChanged();
      server.sendToolListChanged();
      return [text("said")];
    },
  ],
  test_trigger_prompt_change: [
    "Says that the prompts have changed",
    object(),
    (_args, _context, server) => {
      modern.notify.promptsChanged();
      server.sendPromptListChanged();
      return [text("said")];
    },
  ],
  test_trigger_resource_update: [
    "Says that the watched resource has changed",
    object(),
    (_args, _context, server) => {
      modern.notify.resourceUpdated("test://watched-resource");
      server.server.sendResourceUpdated({ uri: "test://watched-resource" });
      return [text("said")];
    },
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
  test_input_required_result_prompt: [
    [],
    (_args, { mcpReq: { inputResponses } }) => {
      const given = acceptedContent(inputResponses, "user_context")?.context;
      if (given === undefined) return inputRequired({ inputRequests: { user_context: ask("context", "string") } });
      return [text(`Use the following context: ${given}`)];
    },
  ],
};

function build() {
  const server = new McpServer(
    { name: "conformance-server", version: "1.0.0" },
    {
      capabilities: {
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        prompts: { listChanged: true },
        logging: {},
        completions: {},
      },
      requestState: { verify: states.verify },
    },
  );
  for (const [name, [description, schema, act]] of Object.entries(tools)) {
    server.registerTool(name, { description, inputSchema: fromJsonSchema(schema) }, async (args, context) => {
      const made = await act(args ?? {}, context, server);
      return Array.isArray(made) ? { content: made } : made;
    });
  }
  for (const [uri, { mimeType, ...content }] of Object.entries(resources)) {
    server.registerResource(uri, uri, { mimeType }, () => ({ contents: [{ uri, mimeType, ...content }] }));
  }
  const template = new ResourceTemplate("test://template/{id}/data", { list: undefined });
  server.registerResource("template", template, { mimeType: "application/json" }, ({ href: uri }, { id }) => {
    const generated = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` });
    return { contents: [{ uri, mimeType: "application/json", text: generated }] };
  });
  for (const [name, [names, write]] of Object.entries(prompts)) {
    const properties = Object.fromEntries(names.map((argument) => [argument, { type: "string" }]));
    const schema = names.length > 0 && { argsSchema: fromJsonSchema(object(properties, { required: names })) };
    const description = `A prompt with ${names.length} arguments`;
    server.registerPrompt(name, { description, ...schema }, async (...given) => {
      const context = given.at(-1);
      const made = await write(given.length > 1 ? given[0] : {}, context);
      return Array.isArray(made) ? { messages: made.map((content) => ({ role: "user", content })) } : made;
    });
  }
  for (const method of ["resources/subscribe", "resources/unsubscribe", "logging/setLevel"]) {
    server.server.setRequestHandler(method, () => ({}));
  }
  server.server.setRequestHandler("completion/complete", () => ({ completion: { values: [], total: 0, hasMore: false } }));
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

const modern = createMcpHandler(build, { legacy: "reject" });

function http() {
  const sessions = new Map();
  const serveModern = toNodeHandler(modern);
  const refuse = (response, status, message) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify({ jsonrpc: "2.0", error: { code: -32000, message }, id: null }));
  };
  const read = async (request) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    return pieces.length === 0 ? undefined : JSON.parse(Buffer.concat(pieces).toString());
  };
  const listener = createHttpServer(async (request, response) => {
    const { hostname } = new URL(`http://${request.headers.host}`);
    const origin = request.headers.origin;
    const local = ["localhost", "127.0.0.1", "[::1]"];
    if (!local.includes(hostname) || (origin && !local.includes(new URL(origin).hostname))) {
      return refuse(response, 403, "not a name of this machine");
    }
    let body;
    try {
      body = await read(request);
    } catch {
      return refuse(response, 400, "not JSON");
    }
    const era = classifyInboundRequest({
      httpMethod: request.method,
      protocolVersionHeader: request.headers["mcp-protocol-version"],
      mcpMethodHeader: request.headers["mcp-method"],
      body,
    });
    if (request.method === "POST" && (era.kind !== "legacy" || process.env.ERA === "modern")) return serveModern(request, response, body);
    const known = request.headers["mcp-session-id"];
    if (known) {
      const transport = sessions.get(known);
      return transport ? transport.handleRequest(request, response, body) : refuse(response, 404, "Session not found");
    }
    if (process.env.ERA === "modern") return refuse(response, 405, "POST only");
    if (body?.method !== "initialize") return refuse(response, 400, "no session");
    const transport = new NodeStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: new Events(),
      retryInterval: 500,
      onsessioninitialized: (id) => sessions.set(id, transport),
      onsessionclosed: (id) => sessions.delete(id),
    });
    await build().connect(transport);
    await transport.handleRequest(request, response, body);
  });
  listener.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => console.log(JSON.stringify({ port: listener.address().port })));
}

if (process.argv[2] === "http") http();
else if (process.env.ERA === "legacy") await build().connect(new StdioServerTransport());
else serveStdio(build, { legacy: process.env.ERA === "modern" ? "reject" : "serve" });
