// {{name}}: yields the MCP servers that its configuration names, one page after the other.

import { Failure, RegistrySource, array, object, string } from "fairlead-plugin";

// The source. One instance for each synchronisation; nothing is kept between two of them but cursor, checkpoint and `kv`.
export default class {{type}} extends RegistrySource {
  static manifest = {
    name: "{{name}}",
    version: "0.1.0",
    description: "Yields the MCP servers that its configuration names",
  };

  static config = object({
    servers: array(
      object({
        name: string().describe("Name as in `server.json`: reverse DNS with one `/`"),
        version: string().describe("Version as in `server.json`"),
        description: string().describe("One sentence"),
      }),
    ).describe("The servers, in order"),
  });

  constructor(config) {
    super(config);
    const wrong = config.servers.find((server) => server.name.split("/").length !== 2);
    if (wrong) throw Failure.config(`the name \`${wrong.name}\` needs exactly one \`/\``);
  }

  enumerate({ cursor, limit }) {
    // The cursor is ours: here the place in the list. The same request must give the same entries.
    const start = Number(cursor ?? 0);
    if (!Number.isInteger(start)) throw Failure.upstream("the cursor is none of mine");
    const end = start + Math.max(limit, 1);
    const { servers } = this.config;
    return { entries: servers.slice(start, end).map(entry), next: end < servers.length ? String(end) : undefined };
  }
}

function entry({ name, version, description }) {
  return { name, version, serverJson: JSON.stringify({ name, version, description }) };
}
