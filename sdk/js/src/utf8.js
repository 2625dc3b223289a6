// Text and bytes. The engine of components is small and has no `TextEncoder`; a lone surrogate becomes U+FFFD, as there.

export function encode(text) {
  const bytes = [];
  for (const character of text) {
    let code = character.codePointAt(0);
    if (code >= 0xd800 && code <= 0xdfff) code = 0xfffd;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
    else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
  }
  return Uint8Array.from(bytes);
}

// How many bytes follow, and the smallest code that needs as many.
const FORMS = [
  [0x80, 0x00, 0, 0],
  [0xe0, 0xc0, 1, 0x80],
  [0xf0, 0xe0, 2, 0x800],
  [0xf8, 0xf0, 3, 0x10000],
];

// Bytes that are no UTF-8 are an error: what cannot be read must not be judged.
export function decode(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 1) {
    const first = bytes[at];
    const form = FORMS.find(([mask, mark]) => (first & mask) === mark);
    if (!form) throw new TypeError("the bytes are no UTF-8");
    const [mask, , more, least] = form;
    let code = first & ~mask & 0xff;
    for (let left = more; left > 0; left -= 1) {
      at += 1;
      if ((bytes[at] & 0xc0) !== 0x80) throw new TypeError("the bytes are no UTF-8");
      code = (code << 6) | (bytes[at] & 63);
    }
    if (code < least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
      throw new TypeError("the bytes are no UTF-8");
    }
    text += String.fromCodePoint(code);
  }
  return text;
}
