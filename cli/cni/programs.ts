import { bridgeProgram, loopbackProgram } from '../../cni/programs/interfaces.ts';
import { hostLocalProgram, type IpamDependencies, staticProgram } from '../../cni/programs/ipam.ts';
import { portmapProgram } from '../../cni/programs/portmap.ts';
import type { ProgramPlugin } from '../../cni/wire/call.ts';

/** Our plugins as programs, under the names that configurations know. */
export function cniPrograms(deps: IpamDependencies): ReadonlyMap<string, ProgramPlugin> {
  const all = [
    bridgeProgram(deps),
    loopbackProgram,
    hostLocalProgram(deps),
    staticProgram,
    portmapProgram(deps),
  ] as ProgramPlugin[];
  return new Map(all.map((program) => [program.type, program]));
}
