const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SHORT_ESCAPES = new Map(
  Object.entries({ '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }),
);
/** By the byte behind the backslash: the byte that is meant, or 0. */
const SHORT = Uint8Array.from(
  { length: 256 },
  (_, code) => SHORT_ESCAPES.get(String.fromCharCode(code))?.charCodeAt(0) ?? 0,
);
const UNICODE = 'u'.charCodeAt(0);
const REPLACEMENT = 0xfffd;
/** From here on a call into the runtime costs less than bytes one by one. */
const LONG_BYTES = 96;

/** Reads JSON strings as bytes. One for many: the result of the last is in its fields, so that nothing is allocated for each. */
export class JsonTextReader {
  /** Where the closing quote stands. */
  end = 0;
  /** Bytes written. */
  written = 0;

  /** Copies the string whose text begins at `from` into `out`, its escapes resolved; it never grows by that. False: it does not end before `to`, or is no JSON. */
  read(text: Buffer, from: number, to: number, out: Buffer, start: number): boolean {
    let at = from;
    let into = start;
    let plain = 0;
    while (at < to) {
      const byte = text[at]!;
      if (byte === QUOTE) {
        this.end = at;
        this.written = into - start;
        return true;
      }
      if (byte !== BACKSLASH) {
        out[into++] = byte;
        at++;
        if (++plain < LONG_BYTES) continue;
        // A long piece without an escape: found and copied at once.
        const end = this.#nextSpecial(text, at, to);
        text.copy(out, into, at, end);
        into += end - at;
        at = end;
        continue;
      }
      plain = 0;
      const kind = text[at + 1]!;
      const short = SHORT[kind]!;
      if (short !== 0) {
        out[into++] = short;
        at += 2;
        continue;
      }
      let code = kind === UNICODE ? hex(text, at + 2) : -1;
      if (code < 0) return false;
      at += 6;
      if (code >= 0xd800 && code < 0xe000) {
        const isPair = code < 0xdc00 && text[at] === BACKSLASH && text[at + 1] === UNICODE;
        const low = isPair ? hex(text, at + 2) : -1;
        if (low >= 0xdc00 && low < 0xe000) {
          code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
          at += 6;
        } else code = REPLACEMENT;
      }
      into = writeUtf8(out, into, code);
    }
    return false;
  }

  #nextSpecial(text: Buffer, from: number, to: number): number {
    const quote = text.indexOf(QUOTE, from);
    const end = quote < 0 || quote > to ? to : quote;
    const backslash = text.subarray(from, end).indexOf(BACKSLASH);
    return backslash < 0 ? end : from + backslash;
  }
}

/** Four hexadecimal digits; -1 when they are none. */
function hex(text: Buffer, at: number): number {
  let value = 0;
  for (let i = 0; i < 4; i++) {
    const digit = Number.parseInt(String.fromCharCode(text[at + i] ?? 0), 16);
    if (Number.isNaN(digit)) return -1;
    value = value * 16 + digit;
  }
  return value;
}

function writeUtf8(out: Buffer, at: number, code: number): number {
  if (code < 0x80) {
    out[at] = code;
    return at + 1;
  }
  if (code < 0x800) {
    out[at] = 0xc0 | (code >> 6);
    out[at + 1] = 0x80 | (code & 0x3f);
    return at + 2;
  }
  if (code < 0x10000) {
    out[at] = 0xe0 | (code >> 12);
    out[at + 1] = 0x80 | ((code >> 6) & 0x3f);
    out[at + 2] = 0x80 | (code & 0x3f);
    return at + 3;
  }
  out[at] = 0xf0 | (code >> 18);
  out[at + 1] = 0x80 | ((code >> 12) & 0x3f);
  out[at + 2] = 0x80 | ((code >> 6) & 0x3f);
  out[at + 3] = 0x80 | (code & 0x3f);
  return at + 4;
}
