import { accessSync, constants, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { ExecError } from '../../src/linux/exec.ts';
import type { Run } from '../../src/netfilter/iptables.ts';
import { CNI_ERROR, CniError, type CniResult } from '../types.ts';
import type { CniCommand } from './environment.ts';
import { parseResult } from './result.ts';
import { type CniVersion, parseVersion } from './versions.ts';

/** dockershim's time for a whole call. */
const CALL_TIMEOUT_MS = 220_000;

export interface ExecCall {
  command: CniCommand;
  containerId?: string;
  netns?: string;
  ifname?: string;
  args?: Readonly<Record<string, string>>;
  path: readonly string[];
  /** What goes to stdin; its `cniVersion` says how the answer is read. */
  conf: Readonly<Record<string, unknown>>;
  signal?: AbortSignal;
  /** Then it is killed, with all that it started. Default 220 s. */
  timeoutMs?: number;
}

/** The program of that name in the first directory that has one. */
export function lookUpPlugin(type: string, path: readonly string[]): string | undefined {
  // A type with a slash would leave the directories that the administrator named.
  if (type === '' || type.includes('/')) return undefined;
  for (const directory of path) {
    // A directory may be named as it is seen from here.
    const file = resolve(directory, type);
    try {
      if (!statSync(file, { throwIfNoEntry: false })?.isFile()) continue;
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // The next directory may have it.
    }
  }
  return undefined;
}

/** @throws CniError 7 that names the places looked at. */
export function findPlugin(type: string, path: readonly string[]): string {
  const file = lookUpPlugin(type, path);
  if (file !== undefined) return file;
  throw new CniError(
    CNI_ERROR.invalidNetworkConfig,
    `failed to find plugin ${JSON.stringify(type)} in path [${path.join(' ')}]`,
  );
}

/**
 * Runs a plugin that is a program of somebody's.
 * @returns its result; undefined where it printed none (all but ADD).
 * @throws CniError with the code, message and details that it printed; code 5 when it was killed or said nothing, 6 for what can't be read.
 */
export async function execPlugin(type: string, call: ExecCall, run: Run): Promise<CniResult | undefined> {
  const stdout = await runPlugin(type, call, run);
  if (call.command !== 'ADD' || stdout.trim() === '') return undefined;
  return parseResult(parseOutput(type, stdout), versionOf(call.conf));
}

/** Versions of the specification that a plugin of somebody's knows. A program from before VERSION knows the oldest. @throws as `execPlugin`. */
export async function askVersions(type: string, call: Omit<ExecCall, 'command'>, run: Run): Promise<string[]> {
  const stdout = await runPlugin(type, { ...call, command: 'VERSION' }, run);
  const { supportedVersions } = (parseOutput(type, stdout) ?? {}) as { supportedVersions?: unknown };
  return Array.isArray(supportedVersions) ? supportedVersions.map(String) : ['0.1.0'];
}

async function runPlugin(type: string, call: ExecCall, run: Run): Promise<string> {
  const program = findPlugin(type, call.path);
  const env: Record<string, string> = { CNI_COMMAND: call.command, CNI_PATH: call.path.join(':') };
  if (call.containerId) env['CNI_CONTAINERID'] = call.containerId;
  if (call.ifname) env['CNI_IFNAME'] = call.ifname;
  if (call.netns) env['CNI_NETNS'] = call.netns;
  if (call.args)
    env['CNI_ARGS'] = Object.entries(call.args)
      .map(([key, value]) => `${key}=${value}`)
      .join(';');
  const { signal, timeoutMs = CALL_TIMEOUT_MS } = call;
  const options = { env, input: JSON.stringify(call.conf), timeoutMs, signal, okCodes: ALL_CODES };
  try {
    const { stdout, stderr, code } = await run(program, [], options);
    if (code !== 0) throw errorOf(type, call.command, stdout, stderr);
    return stdout;
  } catch (cause) {
    if (!(cause instanceof ExecError)) throw cause;
    throw new CniError(CNI_ERROR.ioFailure, `${failed(type, call.command)}: ${cause.message}`, { cause });
  }
}

const ALL_CODES = Array.from({ length: 256 }, (_, code) => code);

const versionOf = (conf: ExecCall['conf']): CniVersion => parseVersion(conf['cniVersion']);

const failed = (type: string, command: CniCommand) =>
  `plugin type=${JSON.stringify(type)} failed (${command.toLowerCase()})`;

function errorOf(type: string, command: CniCommand, stdout: string, stderr: string): CniError {
  const said = stdout.trim() === '' ? undefined : (parseOutput(type, stdout) as Record<string, unknown>);
  if (typeof said?.['code'] === 'number')
    return new CniError(said['code'], `${failed(type, command)}: ${said['msg'] ?? ''}`, {
      details: typeof said['details'] === 'string' && said['details'] !== '' ? said['details'] : undefined,
    });
  return new CniError(CNI_ERROR.ioFailure, `${failed(type, command)} without a word`, {
    details: stderr.trim().slice(-2000) || undefined,
  });
}

function parseOutput(type: string, stdout: string): unknown {
  try {
    return JSON.parse(stdout);
  } catch (cause) {
    throw new CniError(CNI_ERROR.decodeFailure, `plugin type=${JSON.stringify(type)} printed what is no JSON`, {
      details: stdout.trim().slice(0, 500),
      cause,
    });
  }
}
