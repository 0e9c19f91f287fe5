import { DecodeError } from './decode-error.ts';

/** A number of which a JavaScript number would lose something: digits, or that it is no integer literal. `text` as written. */
export class ExactNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** Keys that an object names more than once. The last value is the one that counts. */
export type DuplicateKeys = Map<object, Set<string>>;

export interface ParsedJson {
  value: unknown;
  duplicates: DuplicateKeys;
}

const maxDepth = 1000;
const plainCharacters = /[^"\\\p{Cc}]*/uy;
const numberText = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const escapes: Record<string, string> = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

/**
 * Parses JSON as JSON.parse does, and sees what that hides: keys given twice, and, with `exactNumbers`, numbers of
 * which a double would lose something, which become {@link ExactNumber}.
 *
 * @throws DecodeError in the words of Go's encoding/json.
 */
export function parseJson(text: string, options: { exactNumbers?: boolean } = {}): ParsedJson {
  const parser = new JsonParser(text, options.exactNumbers === true);
  const value = parser.value(0);
  parser.end();
  return { value, duplicates: parser.duplicates };
}

class JsonParser {
  readonly duplicates: DuplicateKeys = new Map();
  readonly #text: string;
  readonly #exactNumbers: boolean;
  #position = 0;

  constructor(text: string, exactNumbers: boolean) {
    this.#text = text;
    this.#exactNumbers = exactNumbers;
  }

  value(depth: number): unknown {
    if (depth > maxDepth) throw new DecodeError(`json: nested deeper than ${maxDepth} levels`);
    switch (this.#next()) {
      case 0x7b:
        return this.#object(depth);
      case 0x5b:
        return this.#array(depth);
      case 0x22:
        return this.#string();
      case 0x74:
        return this.#literal('true', true);
      case 0x66:
        return this.#literal('false', false);
      case 0x6e:
        return this.#literal('null', null);
      default:
        return this.#number();
    }
  }

  end(): void {
    if (!Number.isNaN(this.#next())) throw this.#unexpected('after top-level value');
  }

  #object(depth: number): Record<string, unknown> {
    const object: Record<string, unknown> = {};
    this.#position++;
    if (this.#next() === 0x7d) {
      this.#position++;
      return object;
    }
    for (;;) {
      if (this.#next() !== 0x22) throw this.#unexpected('looking for beginning of object key string');
      const key = this.#string();
      if (this.#next() !== 0x3a) throw this.#unexpected('after object key');
      this.#position++;
      const value = this.value(depth + 1);
      if (Object.hasOwn(object, key)) this.#duplicate(object, key);
      if (key === '__proto__')
        Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
      else object[key] = value;
      const separator = this.#next();
      if (separator !== 0x2c && separator !== 0x7d) throw this.#unexpected('after object key:value pair');
      this.#position++;
      if (separator === 0x7d) return object;
    }
  }

  #array(depth: number): unknown[] {
    const array: unknown[] = [];
    this.#position++;
    if (this.#next() === 0x5d) {
      this.#position++;
      return array;
    }
    for (;;) {
      array.push(this.value(depth + 1));
      const separator = this.#next();
      if (separator !== 0x2c && separator !== 0x5d) throw this.#unexpected('after array element');
      this.#position++;
      if (separator === 0x5d) return array;
    }
  }

  #string(): string {
    const text = this.#text;
    let start = this.#position + 1;
    let result = '';
    for (;;) {
      plainCharacters.lastIndex = start;
      plainCharacters.test(text);
      const stop = plainCharacters.lastIndex;
      const plain = text.slice(start, stop);
      this.#position = stop;
      const code = text.charCodeAt(stop);
      if (code === 0x22) {
        this.#position++;
        return result === '' ? plain : result + plain;
      }
      result += plain;
      if (code === 0x5c) result += this.#escape();
      else if (code >= 0x7f) {
        result += text[stop];
        this.#position++;
      } else throw this.#unexpected('in string literal');
      start = this.#position;
    }
  }

  #escape(): string {
    const letter = this.#text[this.#position + 1] ?? '';
    if (letter === 'u') {
      const digits = this.#text.slice(this.#position + 2, this.#position + 6);
      if (!/^[0-9a-fA-F]{4}$/.test(digits))
        throw this.#unexpected('in \\u hexadecimal character escape', this.#position + 2);
      this.#position += 6;
      return String.fromCharCode(Number.parseInt(digits, 16));
    }
    const character = escapes[letter];
    if (character === undefined) throw this.#unexpected('in string escape code', this.#position + 1);
    this.#position += 2;
    return character;
  }

  #number(): number | ExactNumber {
    numberText.lastIndex = this.#position;
    const match = numberText.exec(this.#text);
    if (!match) throw this.#unexpected('looking for beginning of value');
    const [text, fraction, exponent] = match;
    this.#position += text.length;
    const value = Number(text);
    const plain = fraction === undefined && exponent === undefined;
    // Go takes 1.0 and 1e1 for no integers; behind a JavaScript number they could not be told from one.
    const exact = plain ? Number.isSafeInteger(value) : !Number.isInteger(value) && text.length <= 15;
    return exact || !this.#exactNumbers ? value : new ExactNumber(text);
  }

  #literal<T>(word: string, value: T): T {
    for (let index = 1; index < word.length; index++) {
      if (this.#text[this.#position + index] !== word[index]) {
        throw this.#unexpected(`in literal ${word} (expecting '${word[index]}')`, this.#position + index);
      }
    }
    this.#position += word.length;
    return value;
  }

  /** The code of the next character that is not white space; NaN at the end. */
  #next(): number {
    for (;;) {
      const code = this.#text.charCodeAt(this.#position);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return code;
      this.#position++;
    }
  }

  #duplicate(object: object, key: string): void {
    const keys = this.duplicates.get(object) ?? new Set();
    this.duplicates.set(object, keys.add(key));
  }

  #unexpected(where: string, position = this.#position): DecodeError {
    const character = this.#text[position];
    if (character === undefined) return new DecodeError('unexpected end of JSON input');
    const shown = character < ' ' ? JSON.stringify(character).slice(1, -1) : character;
    return new DecodeError(`invalid character '${shown}' ${where}`);
  }
}
