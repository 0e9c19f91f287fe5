import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { describeKernelDefaults, findKernelDefaults } from '../../agent/node/kernel-defaults.ts';
import { createProcessCgroups, type ProcessCgroups } from '../../agent/node/process-cgroups.ts';
import { openCgroups } from '../../src/linux/cgroup/cgroups.ts';
import { setOpenFilesLimit } from '../../src/linux/open-files-limit.ts';
import { UserError } from '../output/failure.ts';
import type { ProgramContext } from './context.ts';

/** What the configuration says of this process and its host: open files, cgroups, the kernel's settings. @returns what keeps the cgroups so */
export async function settleOwnProcess(
  config: KubeletConfiguration,
  { log, clock }: ProgramContext,
): Promise<ProcessCgroups | undefined> {
  const { soft } = setOpenFilesLimit(config.maxOpenFiles);
  if (soft < config.maxOpenFiles)
    log.info(
      { maxOpenFiles: config.maxOpenFiles, limit: soft },
      'CAP_SYS_RESOURCE is missing: fewer files can be open',
    );
  // protectKernelDefaults: such a node does not come so far. Else upstream would set them; what concerns the whole host is its owner's business.
  const differing = findKernelDefaults();
  if (differing.length > 0)
    log.info(`the kernel is not set as Kubernetes expects: ${describeKernelDefaults(differing)}`);
  const { kubeletCgroups: own, systemCgroups: system } = config;
  if (!own && !system) return undefined;
  const placement = createProcessCgroups(
    { own, system, pid: process.pid },
    { cgroups: await openCgroups(), clock, log },
  );
  await placement.ensure().catch((error: Error) => {
    const fields = Object.entries({ kubeletCgroups: own, systemCgroups: system }).filter(([, path]) => path);
    const named = fields.map(([field, path]) => `${field}: ${JSON.stringify(path)}`).join(', ');
    throw new UserError(`processes cannot be moved to their cgroups (${named}): ${error.message}`);
  });
  return placement;
}
