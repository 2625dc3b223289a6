// The client that the conformance suite drives in its client scenarios, on the official TypeScript SDK. The suite puts the
// address of its server behind the command.
//
// It does in every scenario what a careful client application does: it connects, lists, calls every tool (with the arguments
// that the scenario names, or some of the right types), and answers what it is asked. FAIRLEAD_BETWEEN is a command (JSON)
// that starts Fairlead before an address and prints the one to go to instead.

import { execFileSync } from "node:child_process";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const asked = process.argv.at(-1);
const revision = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION;
const [program, ...flags] = JSON.parse(process.env.FAIRLEAD_BETWEEN ?? "[]");
const name = `${process.env.MCP_CONFORMANCE_SCENARIO}-${revision}`.replaceAll("_", "-");
const between = () => JSON.parse(execFileSync(program, [...flags, "--name", name, "--format", "json", asked]));
const url = program ? between().url : asked;

const isModern = revision === "2026-07-28";
const client = new Client(
  { name: "conformance-client", version: "1.0.0" },
  {
    capabilities: { elicitation: { form: { applyDefaults: true } }, sampling: {}, roots: {} },
    versionNegotiation: { mode: isModern ? "auto" : "legacy" },
  },
);
client.setRequestHandler("elicitation/create", () => ({ action: "accept", content: {} }));
client.setRequestHandler("sampling/createMessage", () => ({
  model: "none",
  role: "assistant",
  stopReason: "endTurn",
  content: { type: "text", text: "pong" },
}));
client.setRequestHandler("roots/list", () => ({ roots: [{ uri: "file:///tmp", name: "tmp" }] }));

const example = ({ type, enum: values, default: preset }) =>
  preset ?? values?.[0] ?? { integer: 5, number: 5, boolean: true, array: [], object: {} }[type] ?? "text";

await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const { tools } = await client.listTools();
// One tool wants to see the schema of another as the client got it.
const { inputSchema: focal } = tools.find(({ inputSchema }) => inputSchema?.$schema) ?? {};
const calls = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}").toolCalls ?? [];
for (const { name, inputSchema } of tools) {
  const properties = Object.entries(inputSchema?.properties ?? {});
  const given = properties.map(([key, schema]) => [key, key === "schema" && focal ? focal : example(schema)]);
  const named = calls.filter((call) => call.name === name).map((call) => call.arguments);
  for (const args of named.length > 0 ? named : [Object.fromEntries(given)]) {
    // What a call comes to is the suite's to judge.
    await client.callTool({ name, arguments: args }).catch((error) => console.error(`${name}: ${error}`));
  }
}
const listed = async (ask) => ask().catch(() => undefined);
const prompts = (await listed(() => client.listPrompts()))?.prompts ?? [];
for (const { name } of prompts) await listed(() => client.getPrompt({ name }));
const resources = (await listed(() => client.listResources()))?.resources ?? [];
for (const { uri } of resources) await listed(() => client.readResource({ uri }));
await client.close();
