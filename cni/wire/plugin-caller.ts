import type { Run } from '../../src/netfilter/iptables.ts';
import {
  type AttachmentKey,
  type AttachRequest,
  CNI_ERROR,
  CniError,
  type CniResult,
  type DetachRequest,
  type Plugin,
} from '../types.ts';
import type { ProgramPlugin } from './call.ts';
import { checkContainerNetns } from './container-netns.ts';
import type { CniCommand } from './environment.ts';
import { execPlugin } from './exec-plugin.ts';
import { type NetConf, readNetConf } from './net-conf.ts';
import { locatePlugin } from './own-launcher.ts';
import { renderResult } from './result.ts';
import { toldError } from './told-error.ts';

type Conf = Readonly<Record<string, unknown>>;

/** One call: the plugin's configuration as it would go to stdin, but for `prevResult`, which is `previous`. */
interface PluginCall {
  /** Has `name`, `cniVersion`, `type`. */
  conf: Conf;
  previous?: CniResult;
  /** Ends a program; what runs in this process comes to its end. */
  signal?: AbortSignal;
  /** One of ours, whatever the directories hold under that name. */
  isOwn?: boolean;
}

/** Calls plugins by the type that a configuration names, wherever they run. Safe for many calls at a time. */
export interface PluginCaller {
  add(request: AttachRequest, call: PluginCall): Promise<CniResult>;
  del(request: DetachRequest, call: PluginCall): Promise<void>;
  check(request: AttachRequest, call: PluginCall & { previous: CniResult }): Promise<void>;
  gc(valid: readonly AttachmentKey[], call: PluginCall): Promise<void>;
  status(call: PluginCall): Promise<void>;
  /** The program's path; undefined for one of ours in this process. @throws CniError 7 for a type that is nowhere. */
  locate(type: string, isOwn?: boolean): string | undefined;
  /** What one of ours would refuse of this configuration; programs of others are not asked. @throws CniError 7 or 2. */
  parse(call: Pick<PluginCall, 'conf' | 'isOwn'>): void;
  close(): void;
}

export interface PluginCallerOptions {
  /** Ours, by type. */
  own: (type: string) => ProgramPlugin | undefined;
  /** Directories of programs (CNI_PATH). */
  path: readonly string[];
  run: Run;
  /** Path of the host's network namespace when it is not the process's own. */
  hostNetns?: string;
  /** Of programs. Default 220 s. */
  timeoutMs?: number;
}

/** Ours are opened at their first call and stay open: their sockets are made once, not once a pod. */
export function createPluginCaller(options: PluginCallerOptions): PluginCaller {
  const { own, path, run, timeoutMs } = options;
  const opened = new Map<string, { plugin: Plugin<unknown>; close(): void }>();

  function locate(type: string, isOwn = false): string | undefined {
    return locatePlugin(type, isOwn ? [] : path, own(type) !== undefined);
  }

  function inProcess(type: string, isOwn?: boolean): { program: ProgramPlugin; plugin: Plugin<unknown> } | undefined {
    if (locate(type, isOwn) !== undefined) return undefined;
    const program = own(type)!;
    const one = opened.get(type) ?? program.open({ path, caller });
    opened.set(type, one);
    return { program, plugin: one.plugin };
  }

  async function dispatch<T>(
    command: CniCommand,
    { conf, previous, signal, isOwn }: PluginCall,
    request: DetachRequest | undefined,
    call: (plugin: Plugin<unknown>, config: unknown, netConf: NetConf) => Promise<T>,
    extra: Conf = {},
  ): Promise<T | CniResult | undefined> {
    const type = String(conf['type'] ?? '');
    const ours = inProcess(type, isOwn);
    const netConf = readNetConf(conf);
    if (ours) {
      try {
        const whole = { ...netConf, ...(previous && { prevResult: previous }) };
        return await call(ours.plugin, ours.program.parse(whole, request?.args ?? {}), whole);
      } catch (error) {
        throw inWordsOf(type, command, error);
      }
    }
    const prevResult = previous && renderResult(previous, netConf.cniVersion);
    const stdin = { ...conf, ...extra, ...(prevResult && { prevResult }) };
    return execPlugin(type, { ...request, command, path, conf: stdin, signal, timeoutMs }, run);
  }

  const caller: PluginCaller = {
    async add(request, call) {
      checkContainerNetns(request.netns, options.hostNetns);
      const result = await dispatch('ADD', call, request, (plugin, config) =>
        plugin.add(config, request, call.previous),
      );
      if (result) return result;
      throw new CniError(
        CNI_ERROR.decodeFailure,
        `plugin type="${call.conf['type']}" failed (add): it printed no result`,
      );
    },
    async del(request, call) {
      await dispatch('DEL', call, request, (plugin, config) => plugin.del(config, request));
    },
    async check(request, call) {
      checkContainerNetns(request.netns, options.hostNetns);
      await dispatch('CHECK', call, request, (plugin, config) => plugin.check(config, request, call.previous));
    },
    async gc(valid, call) {
      const list = valid.map(({ containerId, ifname }) => ({ containerID: containerId, ifname }));
      // The second name is libcni's of before the specification was final.
      const extra = { 'cni.dev/valid-attachments': list, 'cni.dev/attachments': list };
      await dispatch('GC', call, undefined, (plugin, config) => plugin.gc(config, valid), extra);
    },
    async status(call) {
      await dispatch('STATUS', call, undefined, (plugin, config) => plugin.status(config));
    },
    locate,
    parse({ conf, isOwn }) {
      const type = String(conf['type'] ?? '');
      if (locate(type, isOwn) === undefined) own(type)!.parse(readNetConf(conf), {});
    },
    close() {
      for (const { close } of opened.values()) close();
      opened.clear();
    },
  };
  return caller;
}

/** As libcni words what a plugin says. */
function inWordsOf(type: string, command: CniCommand, error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { code, message, details } = toldError(error);
  return new CniError(code, `plugin type="${type}" failed (${command.toLowerCase()}): ${message}`, {
    details,
    cause: error,
  });
}
