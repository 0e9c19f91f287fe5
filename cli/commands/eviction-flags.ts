/** The kubelet's flags for eviction, and the fields that they stand above. */
export const EVICTION_FLAGS: [flag: string, field: string, text: string][] = [
  [
    '--eviction-hard <signal<value>',
    'evictionHard',
    'thresholds at which a pod goes at once: memory.available<1Gi, commas between',
  ],
  [
    '--eviction-soft <signal<value>',
    'evictionSoft',
    'thresholds at which one goes when they have held for their grace period',
  ],
  [
    '--eviction-soft-grace-period <signal=duration>',
    'evictionSoftGracePeriod',
    'those periods: memory.available=1m30s',
  ],
  ['--eviction-minimum-reclaim <signal=amount>', 'evictionMinimumReclaim', 'how far above a threshold it is over'],
  [
    '--eviction-max-pod-grace-period <seconds>',
    'evictionMaxPodGracePeriod',
    'the most that a pod gets to end at a soft threshold',
  ],
  [
    '--eviction-pressure-transition-period <duration>',
    'evictionPressureTransitionPeriod',
    'how long a pressure condition stays',
  ],
  [
    '--kernel-memcg-notification <bool>',
    'kernelMemcgNotification',
    'false: the kernel is not asked to tell of low memory',
  ],
  [
    '--local-storage-capacity-isolation <bool>',
    'localStorageCapacityIsolation',
    'false: pods are not held to limits on local disk',
  ],
];
