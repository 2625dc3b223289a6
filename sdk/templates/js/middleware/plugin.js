// {{name}}: refuses calls whose arguments contain a forbidden word.

import { Failure, Middleware, array, deny, next, object, string, visitStrings } from "fairlead-plugin";

// JSON-RPC code of a refusal. Codes of your own lie outside of -32768 to -32000.
const FORBIDDEN = 4030;

// The middleware. It is built once for each instance, and an instance may be thrown away between any two calls: what must be
// remembered belongs into `kv`.
export default class {{type}} extends Middleware {
  // Ask for little: it is never called for anything else, and what nobody asks for is not even parsed.
  static manifest = {
    name: "{{name}}",
    version: "0.1.0",
    description: "Refuses calls whose arguments contain a forbidden word",
    interests: [{ method: "tools/call", phases: ["request"] }],
  };

  // What an operator configures. The host checks it before the plugin sees anything.
  static config = object({
    words: array(string()).describe("Words that no argument may contain, in whatever case"),
  });

  constructor(config) {
    super(config);
    if (config.words.includes("")) {
      throw Failure.config("`words` has an empty word, which every text contains");
    }
    this.words = config.words.map((word) => word.toLowerCase());
  }

  onRequest(message) {
    let found;
    visitStrings(message.at("/arguments"), (pointer, text) => {
      const lower = text.toLowerCase();
      if (!found && this.words.some((word) => lower.includes(word))) found = `/arguments${pointer}`;
    });
    // A hook that returns nothing is a fault, so that a forgotten `return` lets nobody through.
    return found ? deny(FORBIDDEN, `\`${found}\` contains a forbidden word`) : next();
  }
}
