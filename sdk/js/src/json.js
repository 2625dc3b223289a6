// Walking JSON values.

// Calls `visit(pointer, text)` for every string in a value, keys excepted, with the RFC 6901 pointer of its place.
export function visitStrings(value, visit, pointer = "") {
  if (typeof value === "string") {
    visit(pointer, value);
  } else if (Array.isArray(value)) {
    value.forEach((item, index) => visitStrings(item, visit, `${pointer}/${index}`));
  } else if (value !== null && typeof value === "object") {
    for (const [key, item] of Object.entries(value)) {
      visitStrings(item, visit, `${pointer}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`);
    }
  }
}
