/**
 * Expands `$(NAME)` by a lookup; `$$` is a literal `$` before an opening bracket; what the lookup does not know stays
 * verbatim (and is told to `onUnknown`). The grammar is third_party/forked/golang/expansion's.
 */
export function expandVariables(
  text: string,
  lookup: (name: string) => string | undefined,
  onUnknown?: (name: string) => void,
): string {
  let out = '';
  let at = 0;
  while (at < text.length) {
    const dollar = text.indexOf('$', at);
    if (dollar === -1 || dollar + 1 >= text.length) return out + text.slice(at);
    out += text.slice(at, dollar);
    const next = text[dollar + 1];
    if (next === '$') {
      out += '$';
      at = dollar + 2;
      continue;
    }
    const close = next === '(' ? text.indexOf(')', dollar + 2) : -1;
    if (close === -1) {
      // Neither an operator nor a complete reference: both characters are literal.
      out += `$${next}`;
      at = dollar + 2;
      continue;
    }
    const name = text.slice(dollar + 2, close);
    const value = lookup(name);
    if (value === undefined) onUnknown?.(name);
    out += value ?? `$(${name})`;
    at = close + 1;
  }
  return out;
}
