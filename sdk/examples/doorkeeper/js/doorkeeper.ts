// The doorkeeper in TypeScript. It exists in four languages with one table of cases, `../cases.json`.

import {
  Failure, Middleware, array, deny, integer, kv, next, object, optional, patch, reject, replace, respond, string,
} from "fairlead-plugin";
import type { Infer, Manifest, Message, Rejection, Returned } from "fairlead-plugin";

const BLOCKED = 4030;
const NAMELESS = 4000;
const TOO_MANY = 4290;
const MINUTE_MS = 60_000;
const BY = "doorkeeper.by";

const config = object({
  blocked: optional(array(string()).describe("Tools that nobody may call; `*` at the end stands for any rest")),
  mask: optional(array(string()).describe("Places of texts that the server must not see, as JSON pointers")),
  perMinute: optional(integer().with({ minimum: 1 }).describe("Calls of one caller in a minute")),
  maxResultBytes: optional(integer().with({ minimum: 0 }).describe("Largest result that a client gets")),
  trustHeader: optional(string().describe("Header that says who calls, where nothing else does")),
});

type Config = Infer<typeof config>;

export default class Doorkeeper extends Middleware<Config> {
  static manifest: Manifest = {
    name: "doorkeeper",
    version: "0.1.0",
    description: "blocks tools, limits callers, masks arguments, withholds large results",
    interests: [
      { method: "tools/call", phases: ["request", "response", "error"] },
      { method: "notifications/message", phases: ["event"] },
    ],
    capabilities: [{ name: "kv", reason: "counts the calls of each caller" }],
  };

  static config = config;

  static validate(config: Config): string[] {
    new this(config);
    const { blocked = [], mask = [], perMinute, maxResultBytes } = config;
    const idle = blocked.length + mask.length === 0 && perMinute === undefined && maxResultBytes === undefined;
    return idle ? ["nothing is guarded"] : [];
  }

  private readonly blocked: string[];
  private readonly mask: string[];

  constructor(config: Config) {
    super(config);
    this.blocked = config.blocked ?? [];
    this.mask = config.mask ?? [];
    if (this.blocked.includes("")) throw Failure.config("`blocked` has an empty pattern, which blocks nothing");
    const wrong = this.mask.find((pointer) => !pointer.startsWith("/"));
    if (wrong !== undefined) throw Failure.config(`\`${wrong}\` in \`mask\` is no JSON pointer`);
  }

  onRequest(message: Message): Returned {
    const tool = message.target;
    if (tool === undefined) return deny(NAMELESS, "the call names no tool");
    const who = this.who(message);
    if (this.blocked.some((pattern) => matches(pattern, tool))) {
      const data = { tool, tenant: message.context.tenant };
      return reject({ code: BLOCKED, message: `\`${tool}\` is blocked`, data });
    }
    const most = this.config.perMinute;
    if (most !== undefined && kv.increment(`calls/${who}`, 1, { ttlMs: MINUTE_MS }) > most) {
      return reject({ code: TOO_MANY, message: `too many calls by ${who}`, retryAfterMs: MINUTE_MS });
    }
    if (tool === "ping") return respond({ content: [{ type: "text", text: "pong" }] });
    const other = message.text("/arguments/redirect");
    if (other !== undefined) return replace({ name: other, arguments: {} });
    message.context.setAttribute(BY, who);
    const changes = patch();
    for (const pointer of this.mask) {
      if (message.text(pointer) !== undefined) changes.set(pointer, "***");
    }
    if (message.pointer("/arguments/drop") !== undefined) changes.remove("/arguments/drop");
    return changes;
  }

  onResponse(message: Message): Returned {
    if (message.size > (this.config.maxResultBytes ?? Infinity)) {
      return replace({ content: [{ type: "text", text: `${message.size} bytes were withheld` }], isError: true });
    }
    const who = message.context.attribute(BY);
    return who !== undefined && message.pointer("/isError") === "true" ? patch().set("/by", who) : next();
  }

  onError(_: Message, error: Rejection): Returned {
    switch (error.code) {
      case -32601:
        return reject({ code: 4040, message: "there is no such tool", data: error.data });
      case 5001:
        return respond({ content: [], isError: true });
      default:
        return next();
    }
  }

  onEvent(message: Message): Returned {
    if (message.text("/level") === "debug") return deny(1, "debug is not for clients");
    return message.text("/data")?.startsWith("secret:") ? patch().set("/data", "***") : next();
  }

  private who(message: Message): string {
    const { context } = message;
    const known = context.identity;
    if (known !== undefined) return known;
    const header = this.config.trustHeader;
    const named = header === undefined ? undefined : context.header(header);
    if (named === undefined) return "anonymous";
    context.setIdentity(named, { via: "header" });
    return named;
  }
}

const matches = (pattern: string, tool: string) =>
  pattern.endsWith("*") ? tool.startsWith(pattern.slice(0, -1)) : tool === pattern;
