// One question, by the official TypeScript SDKs. Usage: ask.mjs 1|2 URL TOOL ARGUMENTS

const [line, url, tool, args] = process.argv.slice(2);
const identity = { name: `typescript-sdk-${line}`, version: "1" };

async function open() {
  if (line === "2") {
    const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
    const client = new Client(identity, { versionNegotiation: { mode: "auto" } });
    return { client, transport: new StreamableHTTPClientTransport(new URL(url)) };
  }
  const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
  const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
  return { client: new Client(identity), transport: new StreamableHTTPClientTransport(new URL(url)) };
}

const { client, transport } = await open();
await client.connect(transport);
const tools = (await client.listTools()).tools.map((tool) => tool.name);
const result = await client.callTool({ name: tool, arguments: JSON.parse(args) });
console.log(JSON.stringify({ server: client.getServerVersion()?.name, tools, said: JSON.stringify(result) }));
await client.close();
