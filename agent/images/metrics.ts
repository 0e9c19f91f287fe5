import { Counter, Gauge, Histogram, type Registry } from '../../src/runtime/metrics.ts';
import type { PullPolicy } from './name.ts';
import type { PullSummary } from './pull-progress.ts';
import type { PullRecords } from './pull-records.ts';

/** How a look at the records of pulls ended; upstream's words. */
export type VerificationResult = 'credentialPolicyAllowed' | 'credentialRecordFound' | 'mustAuthenticate' | 'error';

/** What /metrics shows of images. Never throws. */
export interface ImageMetrics {
  /** kubelet_image_manager_ensure_image_requests_total; undefined: not known. */
  ensured(policy: PullPolicy, presentLocally: boolean | undefined, pullRequired: boolean | undefined): void;
  /** kubelet_imagemanager_image_mustpull_checks_total */
  verified(result: VerificationResult): void;
  /** kubelet_image_pull_duration_seconds: with the wait for its turn. */
  pulled(seconds: number, sizeBytes: number): void;
  /** berth_image_pulls_waiting, until the returned function is called. */
  pullWaits(): () => void;
  /** berth_image_pulls_in_progress and berth_image_pulls_total, until the returned function is called. */
  pullRuns(image: string): (succeeded: boolean) => void;
  /** berth_image_pull_downloaded_bytes_total and berth_image_pull_progress_ratio */
  downloaded(image: string, newBytes: number, summary: PullSummary): void;
  /** berth_image_pull_stalls_total */
  pullStalled(): void;
  /** kubelet_credential_provider_plugin_duration and _errors */
  pluginRan(plugin: string, seconds: number, succeeded: boolean): void;
  /** kubelet_credential_provider_config_info */
  pluginsConfigured(hash: string): void;
}

const PULL_BUCKETS = [1, 5, 10, 20, 30, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600];
const GIB = 2 ** 30;
const MIB = 2 ** 20;
/** Upstream's labels of image sizes, by the size that they are above. */
const SIZES: readonly [aboveBytes: number, label: string][] = [
  [100 * GIB, 'GT100GB'],
  [60 * GIB, '60GB-100GB'],
  [40 * GIB, '40GB-60GB'],
  [30 * GIB, '30GB-40GB'],
  [20 * GIB, '20GB-30GB'],
  [10 * GIB, '10GB-20GB'],
  [5 * GIB, '5GB-10GB'],
  [GIB, '1GB-5GB'],
  [500 * MIB, '500MB-1GB'],
  [100 * MIB, '100MB-500MB'],
  [10 * MIB, '10MB-100MB'],
  [0, '0-10MB'],
];

/** The label `image_size_in_bytes` of a size. */
export function imageSizeLabel(sizeBytes: number): string {
  return SIZES.find(([above]) => sizeBytes > above)?.[1] ?? 'N/A';
}

/** Registers everything about images; `records` are counted when /metrics is asked for. */
export function createImageMetrics(registry: Registry, records?: Pick<PullRecords, 'count'>): ImageMetrics {
  const registers = [registry];
  const counter = (name: string, help: string, labelNames: string[] = []) =>
    new Counter({ name, help, labelNames, registers });
  const gauge = (name: string, help: string, labelNames: string[] = []) =>
    new Gauge({ name, help, labelNames, registers });
  const histogram = (name: string, help: string, labelNames: string[], buckets?: number[]) =>
    new Histogram({ name, help, labelNames, ...(buckets && { buckets }), registers });

  const ensures = counter(
    'kubelet_image_manager_ensure_image_requests_total',
    'Number of ensure-image requests processed by the kubelet.',
    ['pull_policy', 'present_locally', 'pull_required'],
  );
  const checks = counter(
    'kubelet_imagemanager_image_mustpull_checks_total',
    'Counter for how many times kubelet checked whether credentials need to be re-verified to access an image',
    ['result'],
  );
  const durations = histogram(
    'kubelet_image_pull_duration_seconds',
    'Duration in seconds to pull an image.',
    ['image_size_in_bytes'],
    PULL_BUCKETS,
  );
  const pluginSeconds = histogram(
    'kubelet_credential_provider_plugin_duration',
    'Duration of execution in seconds for credential provider plugin',
    ['plugin_name'],
  );
  const pluginErrors = counter(
    'kubelet_credential_provider_plugin_errors',
    'Number of errors from credential provider plugin',
    ['plugin_name'],
  );
  const pluginConfig = gauge(
    'kubelet_credential_provider_config_info',
    'Information about the last applied credential provider configuration with hash as label',
    ['hash'],
  );
  if (records) countRecords(records, registry);
  const waiting = gauge('berth_image_pulls_waiting', 'Image pulls that wait for their turn.');
  const running = gauge('berth_image_pulls_in_progress', 'Image pulls that the Engine works on.');
  const pulls = counter('berth_image_pulls_total', 'Image pulls that the Engine has ended, by result.', ['result']);
  const bytes = counter('berth_image_pull_downloaded_bytes_total', 'Bytes of layers that the Engine has downloaded.');
  const ratio = gauge(
    'berth_image_pull_progress_ratio',
    'Downloaded share, 0 to 1, of the layers whose size is known, of each image that is being pulled.',
    ['image'],
  );
  const stalls = counter('berth_image_pull_stalls_total', 'Image pulls that were cancelled without progress.');

  return {
    ensured(policy, presentLocally, pullRequired) {
      ensures.inc({
        pull_policy: policy.toLowerCase(),
        present_locally: String(presentLocally ?? 'unknown'),
        pull_required: String(pullRequired ?? 'unknown'),
      });
    },
    verified: (result) => checks.inc({ result }),
    pulled: (seconds, sizeBytes) => durations.observe({ image_size_in_bytes: imageSizeLabel(sizeBytes) }, seconds),
    pullWaits() {
      waiting.inc();
      return () => waiting.dec();
    },
    pullRuns(image) {
      running.inc();
      ratio.set({ image }, 0);
      return (succeeded) => {
        running.dec();
        ratio.remove({ image });
        pulls.inc({ result: succeeded ? 'success' : 'failure' });
      };
    },
    downloaded(image, newBytes, { downloadedBytes, totalBytes }) {
      bytes.inc(newBytes);
      if (totalBytes > 0) ratio.set({ image }, downloadedBytes / totalBytes);
    },
    pullStalled: () => stalls.inc(),
    pluginRan(plugin_name, seconds, succeeded) {
      pluginSeconds.observe({ plugin_name }, seconds);
      if (!succeeded) pluginErrors.inc({ plugin_name });
    },
    pluginsConfigured: (hash) => pluginConfig.set({ hash }, 1),
  };
}

function countRecords(records: Pick<PullRecords, 'count'>, registry: Registry): void {
  for (const [name, help, kind] of [
    ['kubelet_imagemanager_ondisk_pullintents', 'Number of ImagePullIntents stored on disk.', 'pulling'],
    ['kubelet_imagemanager_ondisk_pulledrecords', 'Number of ImagePulledRecords stored on disk.', 'pulled'],
  ] as const)
    new Gauge({
      name,
      help,
      registers: [registry],
      async collect() {
        this.set(await records.count(kind).catch(() => 0));
      },
    });
}
