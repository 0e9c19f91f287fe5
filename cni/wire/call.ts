import { type AttachmentKey, CNI_ERROR, CniError, type Plugin } from '../types.ts';
import { checkContainerNetns, usableNetns } from './container-netns.ts';
import { type CniEnvironment, parseEnvironment } from './environment.ts';
import { type NetConf, parseNetConf, versionAskedFor } from './net-conf.ts';
import type { PluginCaller } from './plugin-caller.ts';
import { renderResult } from './result.ts';
import { toldError } from './told-error.ts';
import { type CniVersion, isAtLeast, SUPPORTED_VERSIONS } from './versions.ts';

/** A plugin as a program: what it reads from a configuration, and the sockets that it needs while it runs. */
export interface ProgramPlugin<Config = unknown> {
  readonly type: string;
  /**
   * `args` are those of CNI_ARGS, as far as the call has them.
   * @throws CniError 7 (2 for a key that this plugin does not have) naming key and value.
   */
  parse(conf: NetConf, args: Readonly<Record<string, string>>): Config;
  /** A process that lives long opens a plugin once and calls it for many attachments at a time. */
  open(context: PluginContext): { plugin: Plugin<Config>; close(): void };
}

/** What stays the same from call to call. */
export interface PluginContext {
  /** Directories with plugins of others (CNI_PATH), for those that call further ones. */
  path: readonly string[];
  /** Of a process that calls many plugins: who delegates shares them. Absent in a program of one call. */
  caller?: PluginCaller;
}

/** What a program prints and how it ends. */
export interface CallOutcome {
  stdout: string;
  exitCode: 0 | 1;
}

/**
 * One call of a plugin by the protocol of CNI 1.1: the command in the environment, the configuration on stdin, a result or an
 * error on stdout.
 */
export async function callPlugin(
  program: ProgramPlugin,
  env: Readonly<Record<string, string | undefined>>,
  stdin: string,
): Promise<CallOutcome> {
  let version: CniVersion = SUPPORTED_VERSIONS.at(-1)!;
  try {
    const environment = parseEnvironment(env);
    if (environment.command === 'VERSION') return { stdout: renderVersions(versionAskedFor(stdin)), exitCode: 0 };
    const conf = parseNetConf(stdin);
    version = conf.cniVersion;
    const { plugin, close } = program.open({ path: environment.path });
    try {
      return { stdout: await carryOut(program, plugin, environment, conf), exitCode: 0 };
    } finally {
      close();
    }
  } catch (error) {
    return { stdout: renderError(error, version), exitCode: 1 };
  }
}

async function carryOut(
  program: ProgramPlugin,
  plugin: Plugin<unknown>,
  environment: CniEnvironment,
  conf: NetConf,
): Promise<string> {
  const { command, containerId, ifname, netns, args, isHostAllowed } = environment;
  const config = program.parse(conf, args);
  const request = { containerId, ifname, netns, args };
  switch (command) {
    case 'ADD': {
      if (!isHostAllowed) checkContainerNetns(netns);
      const result = await plugin.add(config, request, conf.prevResult);
      return print(renderResult(result, conf.cniVersion));
    }
    case 'DEL':
      // Without a namespace all is released that is on the host.
      await plugin.del(config, { ...request, netns: isHostAllowed ? netns : usableNetns(netns) });
      return '';
    case 'CHECK':
      needs(conf, 'CHECK', '0.4.0');
      if (!conf.prevResult) throw new CniError(CNI_ERROR.invalidNetworkConfig, 'CHECK needs the prevResult of the ADD');
      if (!isHostAllowed) checkContainerNetns(netns);
      await plugin.check(config, request, conf.prevResult);
      return '';
    case 'GC':
      needs(conf, 'GC', '1.1.0');
      await plugin.gc(config, validAttachments(conf));
      return '';
    case 'STATUS':
      needs(conf, 'STATUS', '1.1.0');
      await plugin.status(config);
      return '';
    default:
      return '';
  }
}

function needs(conf: NetConf, command: string, least: CniVersion): void {
  if (!isAtLeast(conf.cniVersion, least))
    throw new CniError(CNI_ERROR.incompatibleVersion, `config version does not allow ${command}`, {
      details: `it is ${conf.cniVersion}; ${command} came with ${least}`,
    });
}

function validAttachments({ raw }: NetConf): AttachmentKey[] {
  // The second name is libcni's of before the specification was final.
  const list = raw['cni.dev/valid-attachments'] ?? raw['cni.dev/attachments'];
  if (!Array.isArray(list))
    throw new CniError(CNI_ERROR.invalidNetworkConfig, 'GC needs cni.dev/valid-attachments: a list');
  return list.map((one: unknown) => {
    const { containerID: containerId, ifname } = (one ?? {}) as { containerID?: unknown; ifname?: unknown };
    // One that is not understood would be taken for gone, and with it what a living container has.
    if (typeof containerId !== 'string' || typeof ifname !== 'string' || containerId === '' || ifname === '')
      throw new CniError(CNI_ERROR.invalidNetworkConfig, 'cni.dev/valid-attachments[]: needs containerID and ifname', {
        details: `there is ${JSON.stringify(one)}`,
      });
    return { containerId, ifname };
  });
}

/** In the version that is asked for; a runtime of the future is to learn what there is, not that its own is unknown. */
function renderVersions(asked: unknown): string {
  const cniVersion = SUPPORTED_VERSIONS.find((version) => version === asked) ?? SUPPORTED_VERSIONS.at(-1);
  return print({ cniVersion, supportedVersions: SUPPORTED_VERSIONS });
}

/** An error as it goes to stdout. */
export function renderError(error: unknown, cniVersion: CniVersion): string {
  const { code, message, details } = toldError(error);
  return print({ cniVersion, code, msg: message, ...(details !== undefined && { details }) });
}

const print = (value: unknown) => `${JSON.stringify(value, null, 4)}\n`;
