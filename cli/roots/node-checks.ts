import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { readHostFacts } from '../../agent/node/host-facts.ts';
import { describeKernelDefaults, findKernelDefaults } from '../../agent/node/kernel-defaults.ts';
import { findOverReservation } from '../../agent/resources/node-resources.ts';
import { computeReservedCgroups, type ReservedCgroup, whyNotLimited } from '../../agent/resources/reserved-cgroups.ts';
import { type Cgroups, openCgroups } from '../../src/linux/cgroup/cgroups.ts';
import { readSwapDevices, type SwapDevice } from '../../src/linux/swap.ts';
import { UserError } from '../output/failure.ts';
import { computeNodeShares, type NodeShares, reservationsOf } from './node-resources.ts';

export interface NodeCheckInput {
  config: KubeletConfiguration;
  shares: NodeShares;
  swapDevices: readonly SwapDevice[];
  /** What failSwapOn is where the configuration says nothing. */
  failSwapOnUnsaid: boolean;
  reserved: readonly ReservedCgroup[];
}

/**
 * The same before anything else is looked at, so that nothing has been changed. The Engine may not run yet, so its cgroup driver is not known: a
 * reserved cgroup may be where either has it.
 */
export async function checkMachine(options: {
  config: KubeletConfiguration;
  rootDir: string;
  failSwapOnUnsaid: boolean;
}): Promise<void> {
  const { config, failSwapOnUnsaid } = options;
  const cgroups = await openCgroups();
  const facts = await readHostFacts(nearestFolder(options.rootDir));
  const [plain, slices] = (['cgroupfs', 'systemd'] as const).map((driver) =>
    computeReservedCgroups(driver, { ...config, memoryQos: false }),
  );
  const reserved: ReservedCgroup[] = [];
  for (const [index, cgroup] of (plain ?? []).entries()) {
    const slice = slices?.[index];
    const isSlice = slice && (await whyNotLimited(cgroups, slice)) === undefined;
    reserved.push(isSlice ? slice : cgroup);
  }
  const shares = computeNodeShares(config, facts);
  await checkNode({ config, shares, swapDevices: await readSwapDevices(), failSwapOnUnsaid, reserved }, cgroups);
}

function nearestFolder(path: string): string {
  return existsSync(path) ? path : nearestFolder(dirname(path));
}

/** Throws one error with all that keeps this machine from being the node that its configuration describes. Nothing has been changed yet. */
export async function checkNode(input: NodeCheckInput, cgroups: Cgroups): Promise<void> {
  const { config, swapDevices } = input;
  const problems = findOverReservation(input.shares.capacity, reservationsOf(config));
  if (cgroups.version === 1 && config.failCgroupV1)
    problems.push(
      'failCgroupV1 is true and this machine has cgroup v1; accepted: false, or a machine that boots with cgroup v2',
    );
  if (cgroups.version === 1 && config.singleProcessOOMKill === false)
    problems.push(
      'singleProcessOOMKill is false and this machine has cgroup v1, which ends single processes; accepted: true, or leave it out',
    );
  const kernel = config.protectKernelDefaults ? findKernelDefaults() : [];
  if (kernel.length > 0)
    problems.push(
      `protectKernelDefaults is true and ${describeKernelDefaults(kernel)}; accepted: false, or these values`,
    );
  if (swapDevices.length > 0 && (config.failSwapOn ?? input.failSwapOnUnsaid))
    problems.push(
      `running with swap on is not supported: ${swapDevices.map(({ name }) => name).join(', ')}; accepted: no swap (swapoff -a), or failSwapOn: false (--fail-swap-on=false)`,
    );
  for (const cgroup of input.reserved) {
    const problem = await whyNotLimited(cgroups, cgroup);
    if (problem) problems.push(problem);
  }
  if (problems.length > 0) throw new UserError(['this machine cannot be such a node:', ...problems].join('\n  - '));
}
