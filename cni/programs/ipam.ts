import { type AttachmentKey, CNI_ERROR, CniError, type DetachRequest, type IpamPlugin, type Plugin } from '../types.ts';
import type { PluginContext, ProgramPlugin } from '../wire/call.ts';
import type { CniCommand } from '../wire/environment.ts';
import { execPlugin } from '../wire/exec-plugin.ts';
import type { NetConf } from '../wire/net-conf.ts';
import { locatePlugin } from '../wire/own-launcher.ts';
import { renderResult } from '../wire/result.ts';
import type { PluginDependencies } from './dependencies.ts';
import { dhcpProgram } from './dhcp.ts';
import { hostLocalProgram } from './host-local.ts';
import { staticProgram } from './static.ts';

/**
 * The manager that a configuration names: one of ours in process, or a program of CNI_PATH; of two of one name, what is installed there
 * and not ours. Its configuration is the whole one.
 */
export function createIpamByName(deps: PluginDependencies, context: PluginContext): IpamPlugin<NetConf> {
  const own = [hostLocalProgram(deps), staticProgram, dhcpProgram(deps)] as ProgramPlugin[];
  const opened = new Map<string, Plugin<unknown>>();

  function ours({ ipam: { type = '' } }: NetConf): { program: ProgramPlugin; plugin: Plugin<unknown> } | undefined {
    const program = own.find((one) => one.type === type);
    if (locatePlugin(type, context.path, program !== undefined) !== undefined) return undefined;
    const plugin = opened.get(type) ?? program!.open(context).plugin;
    opened.set(type, plugin);
    return { program: program!, plugin };
  }

  /** A program of somebody's gets what its caller got, and what of that came in other ways than by the configuration. */
  function call(conf: NetConf, command: CniCommand, request?: DetachRequest, extra: object = {}) {
    const { path } = context;
    const { prevResult, cniVersion } = conf;
    const stdin = { ...conf.raw, ...(prevResult && { prevResult: renderResult(prevResult, cniVersion) }), ...extra };
    return execPlugin(conf.ipam.type ?? '', { ...request, command, path, conf: stdin }, deps.run);
  }

  return {
    type: 'ipam',
    async add(conf, request) {
      const mine = ours(conf);
      const result = mine
        ? await mine.plugin.add(mine.program.parse(conf, request.args), request)
        : await call(conf, 'ADD', request);
      if (!result || result.ips.length === 0)
        throw new CniError(CNI_ERROR.unknown, 'IPAM plugin returned missing IP config', {
          details: `ipam.type ${JSON.stringify(conf.ipam.type)}`,
        });
      return result;
    },
    async del(conf, request) {
      const mine = ours(conf);
      await (mine ? mine.plugin.del(mine.program.parse(conf, request.args), request) : call(conf, 'DEL', request));
    },
    async check(conf, request, result) {
      const mine = ours(conf);
      await (mine
        ? mine.plugin.check(mine.program.parse(conf, request.args), request, result)
        : call({ ...conf, prevResult: result }, 'CHECK', request));
    },
    async gc(conf, valid: readonly AttachmentKey[]) {
      const mine = ours(conf);
      await (mine
        ? mine.plugin.gc(mine.program.parse(conf, {}), valid)
        : call(conf, 'GC', undefined, attachmentLists(valid)));
    },
    async status(conf) {
      const mine = ours(conf);
      await (mine ? mine.plugin.status(mine.program.parse(conf, {})) : call(conf, 'STATUS'));
    },
  };
}

/** The second name is libcni's of before the specification was final. */
function attachmentLists(valid: readonly AttachmentKey[]) {
  const list = valid.map(({ containerId, ifname }) => ({ containerID: containerId, ifname }));
  return { 'cni.dev/valid-attachments': list, 'cni.dev/attachments': list };
}
