// The three kinds of plugins, as classes to extend. What is not written keeps its meaning: a hook lets the message go on, a
// configuration has no warnings.

import { next } from "./verdict.js";

class Plugin {
  static manifest = undefined;
  static config = undefined;
}

export class Middleware extends Plugin {
  constructor(config) {
    super();
    this.config = config;
  }

  interests() {
    return this.constructor.manifest.interests ?? [];
  }

  static validate(config) {
    new this(config);
    return [];
  }

  onRequest() {
    return next();
  }

  onResponse() {
    return next();
  }

  onError() {
    return next();
  }

  onEvent() {
    return next();
  }
}

export class RegistrySource extends Plugin {
  constructor(config) {
    super();
    this.config = config;
  }

  features() {
    return [];
  }

  static validate(config) {
    new this(config);
    return [];
  }

  transform(entry) {
    return entry;
  }
}

export class UpdatePolicy extends Plugin {
  static validate() {
    return [];
  }
}
