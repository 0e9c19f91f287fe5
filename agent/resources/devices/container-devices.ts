import type { ContainerDevices } from '../../containers/device-settings.ts';
import type { CdiDirectories } from './cdi/cdi-directories.ts';
import { expressEdits } from './cdi/cdi-edits.ts';
import type { DeviceManager } from './device-manager.ts';

export interface ContainerDevicesDependencies {
  manager: Pick<DeviceManager, 'prepare'>;
  cdi: CdiDirectories;
  /** Whether the Engine applies CDI devices itself. */
  engineHasCdi: boolean;
}

/** What the launcher puts into the configuration of containers with devices. */
export function createContainerDevices({
  manager,
  cdi,
  engineHasCdi,
}: ContainerDevicesDependencies): Pick<ContainerDevices, 'prepare'> {
  return {
    async prepare(pod, container) {
      const options = await manager.prepare(pod, container);
      if (!options) return undefined;
      const { cdiDevices, ...plain } = options;
      if (engineHasCdi || cdiDevices.length === 0)
        return { ...plain, overridingEnv: new Map(), groups: [], cdiDevices };
      const { env, devices, mounts, groups } = expressEdits(await cdi.resolve(cdiDevices));
      return {
        ...plain,
        overridingEnv: env,
        devices: [...plain.devices, ...devices],
        mounts: [...plain.mounts, ...mounts],
        groups,
        cdiDevices: [],
      };
    },
  };
}
