// The message under decision: its head ready made, body and context read on demand. Lent for one call of a hook.

import { Failure } from "./failure.js";

export class Message {
  #body;

  constructor(head, context, body) {
    this.method = head.method;
    this.target = head.target ?? undefined;
    this.size = Number(head.size);
    this.context = new Context(context);
    this.#body = body;
  }

  read() {
    return this.#body?.read() || "null";
  }

  parse() {
    return this.#parsed(this.read(), "the payload");
  }

  pointer(pointer) {
    return this.#body?.pointer(pointer) ?? undefined;
  }

  at(pointer) {
    const text = this.pointer(pointer);
    return text === undefined ? undefined : this.#parsed(text, `\`${pointer}\``);
  }

  text(pointer) {
    return this.#body?.text(pointer) ?? undefined;
  }

  #parsed(text, what) {
    try {
      return JSON.parse(text);
    } catch (error) {
      throw Failure.internal(`${what} of \`${this.method}\` cannot be read: ${error.message}`);
    }
  }
}

export class Context {
  #inner;

  constructor(inner) {
    this.#inner = inner;
  }

  get requestId() {
    return this.#inner.requestId() ?? undefined;
  }

  get server() {
    return this.#inner.server();
  }

  get tenant() {
    return this.#inner.tenant();
  }

  get session() {
    return this.#inner.session() ?? undefined;
  }

  get identity() {
    return this.#inner.identity() ?? undefined;
  }

  get protocolVersion() {
    return this.#inner.protocolVersion() ?? undefined;
  }

  get remainingMs() {
    return this.#inner.remainingMs();
  }

  claim(name) {
    const text = this.#inner.claim(name) ?? undefined;
    return text === undefined ? undefined : JSON.parse(text);
  }

  header(name) {
    return this.#inner.header(name) ?? undefined;
  }

  attribute(name) {
    return this.#inner.attribute(name) ?? undefined;
  }

  setAttribute(name, value) {
    this.#inner.setAttribute(name, String(value));
  }

  setIdentity(subject, claims = {}) {
    const texts = Object.entries(claims).map(([name, value]) => [name, JSON.stringify(value)]);
    this.#inner.setIdentity(subject, texts);
  }
}
