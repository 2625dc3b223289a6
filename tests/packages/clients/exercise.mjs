// What both lines of the official TypeScript SDK do with server-everything: the handshake, every list, a call, a
// long-running call with progress, and a call for which the server asks this very client. Prints one JSON report.
//
// The marker goes into every answer that this client gives, so that a test with several clients sees whether one was
// asked in the place of another.

// A URL, or `stdio` with a command after the marker.
const endpoint = process.argv[2];
const [command, ...commandArgs] = process.argv.slice(4);
const marker = process.argv[3] ?? "marker";

export const capabilities = { sampling: {}, elicitation: {}, roots: { listChanged: true } };

export const asked = { sampling: 0, elicitation: 0, roots: 0 };

export const answers = {
  sampling() {
    asked.sampling += 1;
    return { model: "none", role: "assistant", stopReason: "endTurn", content: { type: "text", text: marker } };
  },
  elicitation() {
    asked.elicitation += 1;
    return { action: "accept", content: { name: marker, check: true } };
  },
  roots() {
    asked.roots += 1;
    return { roots: [{ uri: `file:///${marker}`, name: marker }] };
  },
};

// The transport that the arguments ask for; both lines have the same three.
export const open = ({ stdio, sse, http }) => {
  if (endpoint === "stdio") return stdio(command, commandArgs);
  return endpoint.endsWith("/sse") ? sse(new URL(endpoint)) : http(new URL(endpoint));
};

const texts = (result) =>
  result.content
    .filter((part) => part.type === "text")
    .map((part) => part.text)
    .join("\n");

// `call(params, options)` hides the one difference between the two lines.
export async function exercise(client, transport, call) {
  const tools = (await client.listTools()).tools.map((tool) => tool.name);
  const resources = (await client.listResources()).resources.map((resource) => resource.uri);
  const templates = (await client.listResourceTemplates()).resourceTemplates.length;
  const prompts = (await client.listPrompts()).prompts.map((prompt) => prompt.name);
  const resource = await client.readResource({ uri: resources[0] });
  const prompt = await client.getPrompt({ name: "args-prompt", arguments: { city: marker } });
  const echo = await call({ name: "echo", arguments: { message: marker } });
  const sum = await call({ name: "get-sum", arguments: { a: 2, b: 40 } });

  const progress = [];
  const long = await call(
    { name: "trigger-long-running-operation", arguments: { duration: 1, steps: 4 } },
    { onprogress: (step) => progress.push(step.progress) },
  );
  const sampling = await call({ name: "trigger-sampling-request", arguments: { prompt: "hello" } });
  const elicitation = await call({ name: "trigger-elicitation-request", arguments: {} });
  const unknown = await call({ name: "no-such-tool", arguments: {} }).then(
    (result) => (result.isError ? "refused" : "accepted"),
    () => "refused",
  );

  const report = {
    server: client.getServerVersion()?.name,
    session: Boolean(transport.sessionId),
    tools: tools.sort(),
    resources: resources.length,
    templates,
    prompts: prompts.sort(),
    resource: resource.contents.length,
    prompt: prompt.messages[0].content.text,
    echo: texts(echo),
    sum: texts(sum),
    progress,
    long: texts(long),
    sampling: texts(sampling).includes(marker),
    elicitation: texts(elicitation).includes(marker),
    unknown,
    asked,
  };
  await transport.terminateSession?.();
  await client.close();
  console.log(JSON.stringify(report));
}
