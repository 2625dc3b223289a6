// Verdicts: what shall happen to a message. In the shape of the contract, so that nothing is converted on the way out.

export const REJECTED = 4030;

const NEXT = Object.freeze({ tag: "next" });

export function next() {
  return NEXT;
}

export function deny(code, message) {
  return reject({ code, message });
}

export function reject({ code, message, data, retryAfterMs }) {
  return {
    tag: "reject",
    val: {
      code,
      message,
      data: data === undefined ? null : JSON.stringify(data),
      retryAfterMs: retryAfterMs ?? null,
    },
  };
}

export function respond(result) {
  return { tag: "respond", val: JSON.stringify(result) };
}

export function replace(payload) {
  return { tag: "edit", val: { tag: "replace", val: JSON.stringify(payload) } };
}

export function patch() {
  return new Patch();
}

export class Patch {
  #operations = [];

  set(pointer, value) {
    return this.setJson(pointer, JSON.stringify(value));
  }

  setJson(pointer, json) {
    this.#operations.push({ pointer, value: json });
    return this;
  }

  remove(pointer) {
    this.#operations.push({ pointer, value: null });
    return this;
  }

  get isEmpty() {
    return this.#operations.length === 0;
  }

  // The contract's verdict. An empty patch changes nothing.
  verdict() {
    return this.isEmpty ? NEXT : { tag: "edit", val: { tag: "patch", val: this.#operations } };
  }
}

// What a hook returned, as a verdict. Nothing is no verdict: a guard that forgets a `return` must not let everybody through.
export function settled(returned, hook) {
  if (returned instanceof Patch) return returned.verdict();
  if (typeof returned?.tag === "string") return returned;
  const came = returned instanceof Promise ? "a promise, and nothing here can wait" : String(returned);
  throw new TypeError(`${hook} returned no verdict but ${came}; to let a message go on, return next()`);
}
