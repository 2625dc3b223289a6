// Failures: the plugin could not do its work. Never a decision; to refuse, return `deny`.

const KINDS = ["config", "upstream", "unavailable", "internal", "other"];

export class Failure extends Error {
  constructor(kind, message) {
    super(message);
    if (!KINDS.includes(kind)) throw new TypeError(`a failure is one of ${KINDS.join(", ")}, not ${kind}`);
    this.name = "Failure";
    this.kind = kind;
  }

  static config(message) {
    return new Failure("config", message);
  }

  static upstream(message) {
    return new Failure("upstream", message);
  }

  static unavailable(message) {
    return new Failure("unavailable", message);
  }

  static internal(message) {
    return new Failure("internal", message);
  }
}

// What goes over the border for something that was thrown. An exception that nobody meant is a fault of the plugin and is
// told as one: the host answers it with the failure mode of the attachment. It never becomes a decision.
export function lowered(thrown) {
  if (thrown instanceof Failure) return { tag: thrown.kind, val: thrown.message };
  const text = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  const where = (thrown?.stack ?? "").split("\n").map((line) => line.trim()).find((line) => line.startsWith("at "));
  return { tag: "internal", val: where ? `${text} (${where})` : text };
}
