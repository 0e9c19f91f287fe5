/** A selector that can't be parsed; the API answers 400 with its message. */
export class SelectorError extends Error {
  override name = 'SelectorError';
}

export interface FieldRequirement {
  field: string;
  operator: '=' | '!=';
  value: string;
}

/**
 * Parses `metadata.name=x,status.phase!=Running`; `\,` `\=` and `\\` are escapes in values.
 * Throws SelectorError with upstream's text.
 */
export function parseFieldSelector(text: string): FieldRequirement[] {
  return splitTerms(text)
    .filter((term) => term !== '')
    .map((term) => {
      const operator = term.match(/!=|==|=/);
      if (!operator || operator.index === undefined)
        throw new SelectorError(`invalid selector: '${text}'; can't understand '${term}'`);
      return {
        field: term.slice(0, operator.index).trim(),
        operator: operator[0] === '!=' ? '!=' : '=',
        value: unescapeField(term.slice(operator.index + operator[0].length), text),
      };
    });
}

function splitTerms(text: string): string[] {
  const terms: string[] = [];
  let term = '';
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!;
    if (char === '\\' && at + 1 < text.length) term += char + text[++at];
    else if (char === ',') {
      terms.push(term);
      term = '';
    } else term += char;
  }
  terms.push(term);
  return terms;
}

function unescapeField(value: string, selector: string): string {
  let plain = '';
  for (let at = 0; at < value.length; at++) {
    const char = value[at]!;
    if (char === '=') throw new SelectorError(`invalid field selector: ${selector}; unescaped '=' in '${value}'`);
    if (char !== '\\') {
      plain += char;
      continue;
    }
    const escaped = value[++at];
    if (escaped !== '\\' && escaped !== ',' && escaped !== '=')
      throw new SelectorError(`invalid field selector: ${selector}; invalid escape in '${value}'`);
    plain += escaped;
  }
  return plain;
}

/** The inverse of parseFieldSelector. */
export function renderFieldSelector(requirements: readonly FieldRequirement[]): string {
  return requirements
    .map(({ field, operator, value }) => `${field}${operator}${value.replace(/[\\,=]/g, '\\$&')}`)
    .join(',');
}

/** Whether an object's selectable fields satisfy all requirements; an absent field counts as ''. */
export function matchesFields(requirements: readonly FieldRequirement[], fields: Record<string, string>): boolean {
  return requirements.every(({ field, operator, value }) => (operator === '=') === ((fields[field] ?? '') === value));
}
