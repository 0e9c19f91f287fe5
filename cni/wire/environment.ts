import { CNI_ERROR, CniError } from '../types.ts';

export type CniCommand = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION';

/** What a runtime says in the environment of a plugin (CNI specification 1.1, "Parameters"). */
export interface CniEnvironment {
  command: CniCommand;
  /** Empty where the command has none. */
  containerId: string;
  /** Path of the namespace; empty where DEL was not told one. */
  netns: string;
  ifname: string;
  args: Readonly<Record<string, string>>;
  /** Directories of plugins. */
  path: readonly string[];
  /** The namespace may be the host's: CNI_NETNS_OVERRIDE says so. */
  isHostAllowed: boolean;
}

const ATTACHMENT: readonly string[] = ['CNI_CONTAINERID', 'CNI_IFNAME'];
const REQUIRED: Record<CniCommand, readonly string[]> = {
  ADD: [...ATTACHMENT, 'CNI_NETNS', 'CNI_PATH'],
  CHECK: [...ATTACHMENT, 'CNI_NETNS', 'CNI_PATH'],
  DEL: [...ATTACHMENT, 'CNI_PATH'],
  GC: ['CNI_PATH'],
  STATUS: ['CNI_PATH'],
  VERSION: [],
};

/** @throws CniError 4 that names every variable that is missing or not as it must be. */
export function parseEnvironment(env: Readonly<Record<string, string | undefined>>): CniEnvironment {
  const command = env.CNI_COMMAND ?? '';
  if (!isCommand(command))
    throw invalid(command === '' ? 'CNI_COMMAND is missing' : `unknown CNI_COMMAND: ${command}`, commands());
  const missing = REQUIRED[command].filter((name) => !env[name]);
  if (missing.length > 0) throw invalid('required env variables missing', missing.join(', '));
  const containerId = env.CNI_CONTAINERID ?? '';
  const ifname = env.CNI_IFNAME ?? '';
  if (REQUIRED[command].includes('CNI_CONTAINERID')) {
    if (!isIdentifier(containerId))
      throw invalid(`invalid CNI_CONTAINERID ${JSON.stringify(containerId)}`, IDENTIFIER_RULE);
    const problem = interfaceNameProblem(ifname);
    if (problem) throw invalid(`invalid CNI_IFNAME ${JSON.stringify(ifname)}`, problem);
  }
  return {
    command,
    containerId,
    ifname,
    netns: env.CNI_NETNS ?? '',
    args: parseArgs(env.CNI_ARGS ?? ''),
    path: (env.CNI_PATH ?? '').split(':').filter(Boolean),
    isHostAllowed: ['1', 'true'].includes((env.CNI_NETNS_OVERRIDE ?? '').toLowerCase()),
  };
}

/** `K=V;K2=V2`. @throws CniError 4 for a pair without `=`. */
export function parseArgs(text: string): Record<string, string> {
  const pairs = text.split(';').filter(Boolean);
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1) throw invalid(`CNI_ARGS: invalid pair ${JSON.stringify(pair)}`, 'expected KEY=VALUE;KEY=VALUE');
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

export const IDENTIFIER_RULE = "letters, digits, '_', '.' and '-', beginning with a letter or digit";

/** What container ids and network names are made of. */
export function isIdentifier(text: string): boolean {
  return /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(text);
}

/** Why the kernel would not take an interface's name; undefined when it does. */
export function interfaceNameProblem(name: string): string | undefined {
  if (name.length > 15) return 'interface names have at most 15 characters';
  if (name === '.' || name === '..') return 'interface names are neither . nor ..';
  return /[/:\s]/.test(name) ? "interface names have no '/', ':' or blanks" : undefined;
}

const commands = () => `expected ${Object.keys(REQUIRED).join(', ')}`;
const isCommand = (text: string): text is CniCommand => Object.hasOwn(REQUIRED, text);
const invalid = (message: string, details: string) => new CniError(CNI_ERROR.invalidEnvironment, message, { details });
