import type { ProgramPlugin } from '../wire/call.ts';
import { bandwidthProgram } from './bandwidth.ts';
import type { PluginDependencies } from './dependencies.ts';
import { dhcpProgram } from './dhcp.ts';
import { firewallProgram } from './firewall.ts';
import { flannelProgram } from './flannel.ts';
import { hostDeviceProgram } from './host-device.ts';
import { hostLocalProgram } from './host-local.ts';
import { bridgeProgram, loopbackProgram, ptpProgram } from './interfaces.ts';
import { dummyProgram, ipvlanProgram, macvlanProgram, tapProgram, vlanProgram } from './links.ts';
import { portmapProgram } from './portmap.ts';
import { sbrProgram, vrfProgram } from './routing.ts';
import { staticProgram } from './static.ts';
import { tuningProgram } from './tuning.ts';

/** Our plugins under the names that configurations know. */
export function ownPlugins(deps: PluginDependencies): ReadonlyMap<string, ProgramPlugin> {
  const own = (type: string): ProgramPlugin | undefined => byType.get(type);
  const all = [
    bridgeProgram(deps),
    ptpProgram(deps),
    loopbackProgram,
    macvlanProgram(deps),
    ipvlanProgram(deps),
    vlanProgram(deps),
    dummyProgram(deps),
    tapProgram(deps),
    hostDeviceProgram(deps),
    tuningProgram,
    sbrProgram(deps),
    vrfProgram(deps),
    hostLocalProgram(deps),
    staticProgram,
    dhcpProgram(deps),
    portmapProgram(deps),
    bandwidthProgram(deps),
    firewallProgram(deps),
    flannelProgram(deps, own),
  ] as ProgramPlugin[];
  const byType = new Map(all.map((program) => [program.type, program]));
  return byType;
}
