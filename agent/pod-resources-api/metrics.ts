import { Counter, type Registry } from '../../src/runtime/metrics.ts';

export type PodResourcesEndpoint = 'list' | 'get_allocatable' | 'get';

/** kubelet_pod_resources_endpoint_*. */
export function createPodResourcesMetrics(registry: Registry) {
  const counter = (name: string, help: string) =>
    new Counter({
      name: `kubelet_pod_resources_endpoint_${name}`,
      help,
      labelNames: ['server_api_version'],
      registers: [registry],
    });
  const total = counter('requests_total', 'Requests to the pod resources API, by its version');
  const counters = Object.fromEntries(
    (['list', 'get_allocatable', 'get'] as const).map((endpoint) => [
      endpoint,
      {
        requests: counter(`requests_${endpoint}`, `Requests to ${endpoint} of the pod resources API, by its version`),
        errors: counter(
          `errors_${endpoint}`,
          `Requests to ${endpoint} of the pod resources API that ended in an error, by its version`,
        ),
      },
    ]),
  ) as Record<PodResourcesEndpoint, { requests: Counter; errors: Counter }>;
  return {
    request(endpoint: PodResourcesEndpoint, version: string): void {
      total.inc({ server_api_version: version });
      counters[endpoint].requests.inc({ server_api_version: version });
    },
    failed(endpoint: PodResourcesEndpoint, version: string): void {
      counters[endpoint].errors.inc({ server_api_version: version });
    },
  };
}
