import { Gauge, type Registry } from '../../src/runtime/metrics.ts';

/** Gates that switch something here, and how far upstream has them. */
const STAGES: Readonly<Record<string, string>> = { MemoryQoS: 'ALPHA', QOSReserved: 'ALPHA' };

/**
 * What the agent runs with. A configuration with an error ends the start, so an agent that can be asked has none: alerts that ask for it
 * find an answer.
 */
export function registerConfigurationMetrics(
  { featureGates }: { featureGates: Readonly<Record<string, boolean>> },
  registry: Registry,
): void {
  const registers = [registry];
  new Gauge({
    name: 'kubelet_node_config_error',
    help: 'This metric is true (1) if the node is experiencing a configuration-related error, false (0) otherwise.',
    registers,
  }).set(0);
  const features = new Gauge({
    name: 'kubernetes_feature_enabled',
    help: 'This metric records the data about the stage and enablement of a k8s feature.',
    labelNames: ['name', 'stage'],
    registers,
  });
  for (const [name, stage] of Object.entries(STAGES)) features.set({ name, stage }, featureGates[name] ? 1 : 0);
}
