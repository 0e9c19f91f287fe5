/** How an answer is to be shaped, negotiated from the Accept header. */
export interface OutputFormat {
  readonly encoding: 'json' | 'yaml';
  readonly shape: 'object' | 'table' | 'metadata' | 'metadataList';
  /** Of meta.k8s.io, for tables and metadata. */
  readonly metaVersion: 'v1' | 'v1beta1';
}

export interface MediaRange {
  /** Lower case, `type/subtype`. */
  readonly type: string;
  readonly parameters: Readonly<Record<string, string>>;
}

export const ACCEPTED_MEDIA_TYPES = ['application/json', 'application/yaml'];

const PLAIN: OutputFormat = { encoding: 'json', shape: 'object', metaVersion: 'v1' };

const SHAPES: Readonly<Record<string, OutputFormat['shape']>> = {
  Table: 'table',
  PartialObjectMetadata: 'metadata',
  PartialObjectMetadataList: 'metadataList',
};

/** Parses an Accept header: ranges by falling q, in the order given where equal; q=0 is left out. */
export function parseAccept(header: string | undefined): MediaRange[] {
  if (!header?.trim()) return [{ type: '*/*', parameters: {} }];
  return header
    .split(',')
    .map((clause) => {
      const range = parseMediaType(clause);
      const q = Number(range.parameters.q ?? '1');
      return { range, q: Number.isNaN(q) ? 1 : q };
    })
    .filter(({ q, range }) => q > 0 && range.type !== '')
    .sort((left, right) => right.q - left.q)
    .map(({ range }) => range);
}

/** `application/json; charset=utf-8` → type and parameters (names in lower case, values without quotes). */
export function parseMediaType(text: string): MediaRange {
  const [type = '', ...rest] = text.split(';');
  const parameters: Record<string, string> = {};
  for (const part of rest) {
    const equals = part.indexOf('=');
    if (equals < 0) continue;
    parameters[part.slice(0, equals).trim().toLowerCase()] = part
      .slice(equals + 1)
      .trim()
      .replace(/^"(.*)"$/, '$1');
  }
  return { type: type.trim().toLowerCase(), parameters };
}

/**
 * The first of the accepted forms that can be served, or undefined (406). `shapes` says whether the answer can be a Table
 * or metadata only; what cannot is passed over, as a client that offers plain JSON after it expects.
 */
export function negotiateOutput(header: string | undefined, shapes: boolean): OutputFormat | undefined {
  // What nearly every request sends is not parsed.
  if (!header || header === 'application/json' || header === '*/*') return PLAIN;
  for (const { type, parameters } of parseAccept(header)) {
    const encoding = encodingOf(type);
    if (!encoding) continue;
    const as = parameters.as;
    if (!as) return { ...PLAIN, encoding };
    const shape = SHAPES[as];
    const metaVersion = parameters.v;
    if (!shapes || !shape || parameters.g !== 'meta.k8s.io') continue;
    if (metaVersion !== 'v1' && metaVersion !== 'v1beta1') continue;
    return { encoding, shape, metaVersion };
  }
  return undefined;
}

function encodingOf(type: string): OutputFormat['encoding'] | undefined {
  if (type === 'application/json' || type === '*/*' || type === 'application/*') return 'json';
  return type === 'application/yaml' ? 'yaml' : undefined;
}

/** The form of a body by its Content-Type; undefined: not one we read (415). No header means JSON. */
export function bodyEncoding(contentType: string | undefined): 'json' | 'yaml' | 'protobuf' | undefined {
  if (!contentType) return 'json';
  switch (parseMediaType(contentType).type) {
    case 'application/json':
    case '*/*':
      return 'json';
    case 'application/yaml':
      return 'yaml';
    case 'application/vnd.kubernetes.protobuf':
      return 'protobuf';
    default:
      return undefined;
  }
}
