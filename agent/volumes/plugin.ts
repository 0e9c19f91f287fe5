import type { Pod, Volume } from '../../src/kube/types.ts';
import type { MountedVolume } from '../containers/mounts.ts';

/** The field of a pod's volume that says what it is: `emptyDir`, `configMap`, `persistentVolumeClaim`, …. */
export type VolumeKind = Exclude<keyof Volume, 'name'>;

export interface VolumeRequest {
  pod: Pod;
  volume: Volume;
  /**
   * `pods/<uid>/volumes/<plugin, each / as ~>/<name>`; its parents exist, it does not need to. `plugin` is upstream's
   * name (`kubernetes.io/csi`); `name` is the volume's unless another is given (claims use their PersistentVolume's).
   */
  directory(plugin: string, name?: string): string;
  signal?: AbortSignal;
}

/** One directory of a pod's volume as it was found on disk: all that is known of it when its pod is gone. */
export interface VolumeDirectory {
  podUid: string;
  /** With slashes: `kubernetes.io/nfs`. */
  plugin: string;
  name: string;
  path: string;
}

/**
 * Makes the volumes of one kind. A failure of `setUp` becomes a FailedMount event with its message and is tried again;
 * `tearDown` is idempotent, and may run in another life of the agent than `setUp` did.
 */
export interface VolumePlugin {
  readonly kind: VolumeKind;
  /**
   * True where content follows the API (upstream's RequiresRemount): `setUp` runs again whenever the pod is refreshed.
   * Else it runs until it has succeeded once in a life of the agent, and has to accept what an earlier life has made.
   */
  readonly refreshes: boolean;
  setUp(request: VolumeRequest): Promise<MountedVolume>;
  /** Upstream's names of the directories that `tearDown` is asked about. */
  readonly directories: readonly string[];
  /**
   * Gives back what `setUp` took, before the directory is removed. Without it what is mounted there is unmounted, which
   * is enough for tmpfs and binds.
   */
  tearDown?(directory: VolumeDirectory): Promise<void>;
}
