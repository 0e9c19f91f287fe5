/** What kubelets are told about ended containers, by flags only. */
export interface ContainerGcFlags {
  maximumDeadContainersPerContainer: string;
  maximumDeadContainers: string;
  /** A Go duration. */
  minimumContainerTtlDuration: string;
}

/** The flags, their texts and upstream's defaults. */
export const CONTAINER_GC_FLAGS: readonly [flag: string, text: string, fallback: string][] = [
  ['--maximum-dead-containers-per-container <n>', 'ended runs of a container that stay; negative: all', '1'],
  ['--maximum-dead-containers <n>', 'ended containers that stay on the whole node; negative: all', '-1'],
  ['--minimum-container-ttl-duration <duration>', 'an ended container stays for so long at least', '0s'],
];
