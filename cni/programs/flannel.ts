import { createFlannelPlugin, type FlannelConfig } from '../plugins/flannel.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import type { ProgramPlugin } from '../wire/call.ts';
import { readFields } from '../wire/fields.ts';
import { createPluginCaller } from '../wire/plugin-caller.ts';
import type { PluginDependencies } from './dependencies.ts';

/** @param own ours, by type: the delegate is usually one of them */
export function flannelProgram(
  deps: PluginDependencies,
  own: (type: string) => ProgramPlugin | undefined,
): ProgramPlugin<FlannelConfig> {
  return {
    type: 'flannel',
    parse(conf) {
      const fields = readFields(conf.raw);
      const delegate = fields.section('delegate').raw;
      if (delegate['type'] !== undefined && typeof delegate['type'] !== 'string')
        throw new CniError(
          CNI_ERROR.invalidNetworkConfig,
          "'delegate' dictionary, if present, must have (string) 'type' field",
        );
      for (const key of ['name', 'ipam'])
        if (delegate[key] !== undefined)
          throw new CniError(
            CNI_ERROR.invalidNetworkConfig,
            `'delegate' dictionary must not have '${key}' field, it'll be set by flannel`,
            { details: `delegate.${key}: ${JSON.stringify(delegate[key])}` },
          );
      return {
        network: conf.name,
        cniVersion: conf.cniVersion,
        subnetFile: fields.text('subnetFile') || '/run/flannel/subnet.env',
        dataDir: fields.text('dataDir') || '/var/lib/cni/flannel',
        ipam: conf.ipam,
        delegate,
        runtimeConfig: conf.runtimeConfig,
        ...(conf.prevResult && { previous: conf.prevResult }),
      };
    },
    open({ path, caller }) {
      const delegate = caller ?? createPluginCaller({ own, path, run: deps.run });
      return {
        plugin: createFlannelPlugin(delegate),
        close() {
          if (!caller) delegate.close();
        },
      };
    },
  };
}
