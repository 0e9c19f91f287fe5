import type { HTTPHeader } from '../../src/kube/types.ts';

export interface RequestParts {
  /** Path and query as the request line has them. */
  target: string;
  /** For the Host header, unless the user gave one. */
  authority: string;
  headers: readonly HTTPHeader[];
  userAgent: string;
  /** Whether a Host header of the user applies here. */
  keepsHost: boolean;
  referer: string | undefined;
}

/** Written by the client itself, or about a body that a GET does not have. */
const NOT_FOR_USERS = new Set(['host', 'user-agent', 'content-length', 'transfer-encoding', 'trailer']);
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/**
 * The text of a GET. The user's headers win, an empty User-Agent or Accept goes away, Host is not an ordinary header.
 * @throws Error for a header that would not stay in its line.
 */
export function formatRequest(parts: RequestParts): string {
  const { headers, keepsHost, referer } = parts;
  const valuesOf = (name: string) => headers.filter((one) => one.name.toLowerCase() === name).map(({ value }) => value);
  for (const { name, value = '' } of headers) {
    if (!TOKEN.test(name)) throw new Error(`net/http: invalid header field name ${JSON.stringify(name)}`);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    if (/[\0-\x08\x0a-\x1f\x7f]/.test(value))
      throw new Error(`net/http: invalid header field value for ${JSON.stringify(name)}`);
  }
  const host = (keepsHost && valuesOf('host')[0]) || parts.authority;
  const [userAgent = parts.userAgent] = valuesOf('user-agent');
  const lines = [`GET ${parts.target} HTTP/1.1`, `Host: ${host}`];
  if (userAgent !== '') lines.push(`User-Agent: ${userAgent}`);
  const accepts = valuesOf('accept');
  for (const { name, value = '' } of headers) {
    const key = name.toLowerCase();
    if (NOT_FOR_USERS.has(key) || (key === 'accept' && accepts[0] === '')) continue;
    lines.push(`${name}: ${value}`);
  }
  if (accepts.length === 0) lines.push('Accept: */*');
  if (referer !== undefined && valuesOf('referer').length === 0) lines.push(`Referer: ${referer}`);
  if (valuesOf('connection').length === 0) lines.push('Connection: close');
  return `${lines.map(toUtf8).join('\r\n')}\r\n\r\n`;
}

/** Path and query of a probe as a request line has them: a slash before, no fragment, what is not allowed there escaped. */
export function requestTarget(path: string): string {
  const [withoutFragment] = path.split('#', 1) as [string];
  const question = withoutFragment.indexOf('?');
  const plainPath = question < 0 ? withoutFragment : withoutFragment.slice(0, question);
  // What cannot be parsed as a URL is a path, with all that is in it.
  const isBroken = /%(?![0-9a-f]{2})/i.test(plainPath);
  const escaped = isBroken
    ? percentEncode(path.replaceAll('%', '%25')).replaceAll('?', '%3F').replaceAll('#', '%23')
    : percentEncode(withoutFragment);
  return escaped.startsWith('/') ? escaped : `/${escaped}`;
}

function percentEncode(text: string): string {
  return text.replace(/[\0-\x20"<>\\^`{|}\x7f]|[^\0-\x7f]+/g, (part) => encodeURIComponent(part.toWellFormed()));
}

/** Sockets are written in latin1: one character, one byte. */
function toUtf8(text: string): string {
  return /^[\0-\x7f]*$/.test(text) ? text : Buffer.from(text).toString('latin1');
}
