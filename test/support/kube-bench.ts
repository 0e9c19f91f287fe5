import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

/** One check of a benchmark file, as kube-bench reads it. */
export interface BenchCheck {
  id: string;
  text: string;
  audit: string;
  audit_config?: string;
  use_multiple_values?: boolean;
  tests: { bin_op?: 'and' | 'or'; test_items: BenchItem[] };
  remediation: string;
  scored: boolean;
}

interface BenchItem {
  flag?: string;
  path?: string;
  set?: boolean;
  compare?: { op: string; value: string };
}

type Component = Record<string, string[] | string>;
/** `$kubeletconf` is the first of `confs` of the component kubelet that is there, else its `defaultconf`. */
const VARIABLES = { conf: 'confs', svc: 'svc', kubeconfig: 'kubeconfig', cafile: 'cafile' } as const;

/**
 * The checks of a profile for one host, its files found and put in. kube-bench itself is not among the programs that tests have; this does what its sources say it does with the parts of the
 * format that our profile uses, and throws at others.
 * @param hostPath where a path of the host is from here
 */
export function loadBenchmark(folder: string, benchmark: string, hostPath: (path: string) => string): BenchCheck[] {
  const config = parse(readFileSync(join(folder, 'config.yaml'), 'utf8')) as {
    node: { components: string[] } & Record<string, Component>;
    target_mapping: Record<string, string[]>;
  };
  if (!config.target_mapping[benchmark]?.includes('node')) throw new Error(`${benchmark} is no benchmark of nodes`);
  let text = readFileSync(join(folder, benchmark, 'node.yaml'), 'utf8');
  for (const name of config.node.components)
    for (const [variable, list] of Object.entries(VARIABLES)) {
      const component = config.node[name]!;
      const found = ((component[list] ?? []) as string[]).find((file) => existsSync(hostPath(file)));
      text = text.replaceAll(`$${name}${variable}`, found ?? (component[`default${variable}`] as string) ?? name);
    }
  const { groups } = parse(text, { schema: 'core' }) as { groups: { checks: BenchCheck[] }[] };
  return groups.flatMap(({ checks }) => checks);
}

/** Whether a check passes; what it saw otherwise. @param run runs a shell script on the host and returns what it printed */
export async function evaluateCheck(
  check: BenchCheck,
  run: (script: string) => Promise<string>,
): Promise<string | undefined> {
  const output = (await run(check.audit)).trimEnd();
  const config = check.audit_config === undefined ? undefined : await run(check.audit_config);
  const results = check.tests.test_items.map((item) => {
    const lines = check.use_multiple_values ? output.split('\n') : [output];
    const byFlag = lines.map((line) => evaluateItem(item, findFlag(item, line)));
    if (byFlag.some(({ isFound }) => isFound) || config === undefined || item.path === undefined)
      return byFlag.every(({ passes }) => passes);
    return evaluateItem(item, findPath(item.path, parse(config))).passes;
  });
  const passes = check.tests.bin_op === 'or' ? results.some(Boolean) : results.every(Boolean);
  return passes ? undefined : `${check.id} ${check.text}: ${JSON.stringify(output)}`;
}

function evaluateItem({ set = true, compare }: BenchItem, value: string | undefined) {
  const isFound = value !== undefined;
  if (!set) return { isFound, passes: !isFound };
  return { isFound, passes: isFound && (compare === undefined || compares(compare, value)) };
}

/** `flag=value`, `flag: value`, or the flag's own words. */
function findFlag({ flag }: BenchItem, output: string): string | undefined {
  if (!flag || output === '' || !output.includes(flag)) return undefined;
  const match = new RegExp(`(${flag})(=|: *)*([^\\s]*) *`).exec(output);
  return match?.[3] || match?.[1];
}

/** The JSONPath expressions of the profile: `{.a.b}`, and a range over a list that puts a comma behind each. An empty text is nothing found. */
function findPath(path: string, config: unknown): string | undefined {
  const [, list] = /^\{range \.(\w+)\[:\]\}\{\}\{','\}\{end\}$/.exec(path) ?? [];
  const names = list ? [list] : /^\{((?:\.\w+)+)\}$/.exec(path)?.[1]?.slice(1).split('.');
  if (!names) throw new Error(`the JSONPath expression ${path} is not known here`);
  let value = config;
  for (const name of names) value = (value as Record<string, unknown> | undefined)?.[name];
  const text = list ? (value as string[] | undefined)?.map((one) => `${one},`).join('') : value;
  return text === undefined || text === '' ? undefined : String(text);
}

function compares({ op, value: wanted }: { op: string; value: string }, value: string): boolean {
  const expected = String(wanted);
  const items = (text: string) => text.replace(/,+$/, '').split(',').filter(Boolean);
  switch (op) {
    case 'eq':
      return value === expected;
    case 'noteq':
      return value !== expected;
    case 'gt':
      return Number.parseInt(value, 10) > Number.parseInt(expected, 10);
    case 'gte':
      return Number.parseInt(value, 10) >= Number.parseInt(expected, 10);
    case 'regex':
      return new RegExp(expected).test(value);
    case 'valid_elements':
      return items(value).length > 0 && items(value).every((one) => items(expected).includes(one));
    case 'bitmask':
      return (Number.parseInt(value, 8) & ~Number.parseInt(expected, 8)) === 0;
    default:
      throw new Error(`the comparison ${op} is not known here`);
  }
}
