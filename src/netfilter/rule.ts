/** One option of an iptables rule as typed: `! -s 10.0.0.0/8` is `{ negated: true, name: '-s', values: ['10.0.0.0/8'] }`. */
export interface RuleOption {
  negated: boolean;
  name: string;
  values: string[];
}

/** Splits a rule at blanks as iptables-restore does: double quotes keep a piece together, a backslash escapes inside them. */
export function tokenizeRule(text: string): { text: string; quoted: boolean }[] {
  const tokens: { text: string; quoted: boolean }[] = [];
  for (const match of text.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g))
    tokens.push(
      match[1] !== undefined
        ? { text: match[1].replaceAll(/\\(.)/g, '$1'), quoted: true }
        : { text: match[2]!, quoted: false },
    );
  return tokens;
}

/** The options of a rule, given without its `-A CHAIN`. Both rendered text and iptables-save's lines can be read. */
export function parseRule(text: string): RuleOption[] {
  const options: RuleOption[] = [];
  let negated = false;
  for (const token of tokenizeRule(text)) {
    if (!token.quoted && token.text === '!') negated = true;
    else if (!token.quoted && /^--?[a-z]/i.test(token.text)) {
      options.push({ negated, name: LONG_NAMES[token.text] ?? token.text, values: [] });
      negated = false;
    } else options.at(-1)?.values.push(token.text);
  }
  return options;
}

const LONG_NAMES: Record<string, string> = {
  '--source': '-s',
  '--src': '-s',
  '--destination': '-d',
  '--dst': '-d',
  '--in-interface': '-i',
  '--out-interface': '-o',
  '--protocol': '-p',
  '--jump': '-j',
  '--goto': '-g',
  '--match': '-m',
  '--destination-port': '--dport',
  '--source-port': '--sport',
};

/** What iptables-save adds although it is the default. */
const DEFAULTS = new Set([
  '--reject-with icmp-port-unreachable',
  '--reject-with icmp6-port-unreachable',
  '--rsource',
  '--mask 255.255.255.255',
  '--mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
]);

/**
 * A form in which two spellings of the same rule are equal: what we wrote and what iptables-save gives back.
 * Matches are sorted, `-m NAME` is dropped (every match that we use has an option of its own), a bare address gets its
 * full prefix, marks become numbers, probabilities the kernel's 31 bits.
 */
export function canonicalRule(text: string): string {
  const parts: string[] = [];
  for (const option of parseRule(text)) {
    if (option.name === '-m') continue;
    const [name, values] = canonicalOption(option);
    const part = `${option.negated ? '! ' : ''}${[name, ...values].join(' ')}`;
    if (!DEFAULTS.has(part)) parts.push(part);
  }
  return parts.sort().join(' ');
}

function canonicalOption({ name, values }: RuleOption): [string, string[]] {
  const value = values[0] ?? '';
  switch (name) {
    case '-s':
    case '-d':
      return [name, [value.includes('/') ? value : `${value}/${value.includes(':') ? 128 : 32}`]];
    case '--mark': {
      const [mark, mask] = value.split('/');
      return [name, [`${Number(mark)}/${mask === undefined ? 0xffffffff : Number(mask)}`]];
    }
    case '--or-mark':
      return ['--set-xmark', [`${Number(value)}/${Number(value)}`]];
    case '--xor-mark':
      return ['--set-xmark', [`${Number(value)}/0`]];
    case '--set-xmark': {
      const [mark, mask] = value.split('/');
      return [name, [`${Number(mark)}/${mask === undefined ? 0xffffffff : Number(mask)}`]];
    }
    case '--probability':
      return [name, [String(Math.round(Number(value) * 2 ** 31))]];
    case '--ctstate':
      return [name, [value.split(',').sort().join(',')]];
    default:
      return [name, values];
  }
}
