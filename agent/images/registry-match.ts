/** A registry location as credentials and plugins name it: host, port and path, without a scheme. */
interface Location {
  hostParts: string[];
  port: string;
  path: string;
}

function parseLocation(text: string): Location {
  const slash = text.indexOf('/');
  const authority = slash === -1 ? text : text.slice(0, slash);
  const port = /:(\d*)$/.exec(authority)?.[1];
  const host = port === undefined ? authority : authority.slice(0, -port.length - 1);
  return { hostParts: host.split('.'), port: port ?? '', path: slash === -1 ? '' : text.slice(slash) };
}

/**
 * Whether an image's repository (`docker.io/library/nginx`) lies below a location such as `*.example.com:5000/team`:
 * as many parts in the host, each matching its glob (`*`, `?`, `[a-z]` never cross a dot), the same port, and the path as
 * a prefix, character by character (upstream's URLsMatch, which also has no globs in ports and paths).
 */
export function matchesLocation(glob: string, repository: string): boolean {
  const want = parseLocation(glob);
  const have = parseLocation(repository);
  return (
    want.port === have.port &&
    want.hostParts.length === have.hostParts.length &&
    have.path.startsWith(want.path) &&
    want.hostParts.every((part, index) => globMatches(part, have.hostParts[index]!))
  );
}

/** Go's filepath.Match of one part; a malformed pattern matches nothing. */
function globMatches(pattern: string, text: string): boolean {
  const expression = globExpression(pattern);
  return expression?.test(text) ?? false;
}

function globExpression(pattern: string): RegExp | undefined {
  let source = '';
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern[at]!;
    if (character === '*') source += '.*';
    else if (character === '?') source += '.';
    else if (character === '[') {
      const end = pattern.indexOf(']', at + 2);
      if (end === -1) return undefined;
      const inside = pattern.slice(at + 1, end);
      source += `[${inside.replace(/[\\[\]]/g, '\\$&')}]`;
      at = end;
    } else if (character === '\\') {
      at++;
      if (at === pattern.length) return undefined;
      source += escapeRegExp(pattern[at]!);
    } else source += escapeRegExp(character);
  }
  try {
    return new RegExp(`^${source}$`);
  } catch {
    return undefined;
  }
}

const escapeRegExp = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** Whether a location can be read at all; matchImages of credential providers are checked by it. */
export function isLocation(text: string): boolean {
  return text !== '' && !/\s/.test(text) && parseLocation(text).hostParts.every((part) => globExpression(part));
}
