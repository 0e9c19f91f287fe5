/** A piece of nft's language. Quoted ones are never keywords. */
export interface Token {
  text: string;
  quoted: boolean;
}

/** Splits at blanks; braces, commas, semicolons and quoted strings stand alone. A colon does so only between blanks: addresses hold them. */
export function tokenizeNft(text: string): Token[] {
  const tokens: Token[] = [];
  for (const match of text.matchAll(/"([^"]*)"|([{},;])|([^\s{},;"]+)/g))
    tokens.push(
      match[1] !== undefined ? { text: match[1], quoted: true } : { text: (match[2] ?? match[3])!, quoted: false },
    );
  return tokens;
}

/** Reads tokens from left to right. */
export class TokenReader {
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  /** The text of the token that is `ahead` places on; undefined behind the end, and for a quoted one. */
  peek(ahead = 0): string | undefined {
    const token = this.#tokens[this.#at + ahead];
    return token?.quoted ? undefined : token?.text;
  }

  /** @throws Error at the end. */
  next(): string {
    const token = this.#tokens[this.#at++];
    if (!token) throw new Error('nft: the text ends in the middle of a statement');
    return token.text;
  }

  /** Takes the next token when it is one of these. */
  take(...texts: string[]): string | undefined {
    const text = this.peek();
    return text !== undefined && texts.includes(text) ? this.next() : undefined;
  }

  get isDone(): boolean {
    return this.#at >= this.#tokens.length;
  }

  /** What is left, for messages. */
  rest(): string {
    return this.#tokens
      .slice(this.#at)
      .map(({ text }) => text)
      .join(' ');
  }
}
