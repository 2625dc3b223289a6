// `fairlead:types/manifest`, the same for every kind.

import { parse, schemaText } from "../config.js";

export const interest = ({ method, target, phases = [] }) => ({
  method,
  target: target ?? null,
  phases: Object.fromEntries(["request", "response", "error", "event"].map((phase) => [phase, phases.includes(phase)])),
});

export function manifestOf(Plugin, kind) {
  if (typeof Plugin?.manifest?.name !== "string") {
    throw new TypeError("the plugin must `export default` a class with a static `manifest`");
  }
  return {
    describe() {
      const { name, version, description, interests = [], capabilities = [], attributes = {} } = Plugin.manifest;
      return {
        name,
        version,
        kind,
        description,
        configSchema: schemaText(Plugin.config),
        interests: interests.map(interest),
        capabilities: capabilities.map(({ name, scope = [], reason = "" }) => ({ name, scope, reason })),
        attributes: Object.entries(attributes),
      };
    },

    validateConfig(config) {
      try {
        return Plugin.validate(parse(config));
      } catch (error) {
        throw error.message;
      }
    },
  };
}
