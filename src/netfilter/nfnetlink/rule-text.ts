import type { BaseChainHook, Chain, Family, PacketField, Rule, Statement } from './rule.ts';

/** A chain as `nft list chain` prints it, without the indentation of its table. */
export function chainText(chain: Chain, family: Family): string {
  const lines = chain.rules.map((rule) => `\t${ruleText(rule, family)}\n`);
  return `chain ${chain.name} {\n${chain.base ? `\t${baseText(chain.base)}\n` : ''}${lines.join('')}}\n`;
}

export function ruleText({ statements, comment }: Rule, family: Family): string {
  const text = statements.map((statement) => statementText(statement, family)).join(' ');
  return comment === undefined ? text : `${text} comment "${comment}"`;
}

/** `ip daddr . meta l4proto . th dport` */
export function fieldsText(fields: readonly PacketField[], family: Family): string {
  return fields
    .map((field) =>
      field === 'l4proto' ? 'meta l4proto' : field === 'dport' ? 'th dport' : addressField(field, family),
    )
    .join(' . ');
}

function addressField(field: 'saddr' | 'daddr', family: Family): string {
  return `${family} ${field}`;
}

/** Names of nft for the priorities that have one. */
const PRIORITY_NAMES = new Map([
  ['prerouting -100', 'dstnat'],
  ['output -100', '-100'],
  ['postrouting 100', 'srcnat'],
  ['prerouting -110', 'dstnat - 10'],
]);

function baseText({ type, hook, priority }: BaseChainHook): string {
  const name = priority === 0 ? 'filter' : (PRIORITY_NAMES.get(`${hook} ${priority}`) ?? priority);
  return `type ${type} hook ${hook} priority ${name}; policy accept;`;
}

function statementText(statement: Statement, family: Family): string {
  switch (statement.kind) {
    case 'protocol':
      return `meta l4proto ${statement.protocol}`;
    case 'destination-port':
      return `${statement.protocol} dport ${statement.port}`;
    case 'connection-new':
      return 'ct state new';
    case 'connection-translated':
      return 'ct status dnat';
    case 'address':
      return `${addressField(statement.field, family)} ${statement.isNegated ? '!= ' : ''}${statement.cidr}`;
    case 'in-interface':
      return `iifname ${statement.isNegated ? '!= ' : ''}"${statement.name}"`;
    case 'local-address':
      return `fib ${statement.field} type local`;
    case 'in-set':
      return `${fieldsText(statement.fields, family)} @${statement.set}`;
    case 'verdict-map':
      return `${fieldsText(statement.fields, family)} vmap @${statement.map}`;
    case 'set-mark':
      return `meta mark set meta mark | ${markText(statement.bits)}`;
    case 'take-mark':
      return `meta mark & ${markText(statement.bits)} != 0x00000000 meta mark set meta mark & ${markText(~statement.bits)}`;
    case 'dnat-random': {
      // With the protocol's own name for the port, nft needs no match of the protocol beside it, and prints none.
      const key = fieldsText(statement.fields, family).replace('th dport', `${statement.protocol} dport`);
      return `dnat ${family} to ${key} . numgen random mod ${statement.count} map @${statement.map}`;
    }
    case 'dnat':
      return `dnat to ${family === 'ip' ? statement.address : `[${statement.address}]`}:${statement.port}`;
    case 'chance':
      return `numgen random mod ${statement.oneIn} 0`;
    case 'remember':
      return `update @${statement.set} { ${family} saddr }`;
    case 'masquerade':
      return 'masquerade fully-random';
    case 'jump':
    case 'goto':
      return `${statement.kind} ${statement.chain}`;
    default:
      return statement.kind;
  }
}

function markText(mark: number): string {
  return `0x${(mark >>> 0).toString(16).padStart(8, '0')}`;
}

/** `10800` → `3h` */
export function durationText(seconds: number): string {
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ] as const;
  return parts.map(([count, unit]) => (count === 0 ? '' : `${count}${unit}`)).join('') || '0s';
}
