import type { StatisticsEndpoints } from '../../agent/stats/endpoints.ts';

/** Statistics of a node on which nothing runs. */
export const noStatistics: StatisticsEndpoints = {
  summary: async () => ({ node: { nodeName: 'n1', startTime: '2026-01-01T00:00:00Z' }, pods: [] }),
  resourceMetrics: async () => 'resource_scrape_error 0\n',
  cadvisorMetrics: async () => ['machine_cpu_cores 2\n', 'container_scrape_error 0\n'],
};
