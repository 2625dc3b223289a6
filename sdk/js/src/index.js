// Write Fairlead plugins in JavaScript: a class, its manifest, its configuration.
//
// The types are in `../types/index.d.ts`, documented there. Everything here is plain JavaScript without a host: in a component
// `guest/*.js` puts the host in, in a test `testing.js` puts fakes in.

export { array, boolean, enumeration, integer, map, number, object, optional, string } from "./config.js";
export { Failure } from "./failure.js";
export { clock, kv, log, metrics, secrets } from "./host.js";
export { Middleware, RegistrySource, UpdatePolicy } from "./kinds.js";
export { visitStrings } from "./json.js";
export { Patch, REJECTED, deny, next, patch, reject, replace, respond } from "./verdict.js";
