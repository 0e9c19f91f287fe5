import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import type { ResizingNode } from '../../agent/pods/resize/decision.ts';
import type { NodeResources } from '../../agent/resources/node-resources.ts';
import { swapBytesOf } from '../../agent/resources/swap.ts';
import type { EngineInfo } from '../../src/docker/engine.ts';

/** What this node's configuration lets it do for pods that ask for more while they run. */
export function describeResizingNode(
  config: KubeletConfiguration,
  engine: Pick<EngineInfo, 'cgroupVersion'>,
  { cpuMillis, memoryBytes }: NodeResources,
): ResizingNode {
  const behavior = engine.cgroupVersion === '2' ? config.memorySwap.swapBehavior : 'NoSwap';
  return {
    cpuMillis,
    memoryBytes,
    cpuManagerIsStatic: config.cpuManagerPolicy === 'static',
    memoryManagerIsStatic: config.memoryManagerPolicy === 'Static',
    maySwap(pod, name) {
      const container = [...(pod.spec.initContainers ?? []), ...pod.spec.containers].find((one) => one.name === name);
      // As upstream: by what is configured, however much swap there is.
      return (
        container !== undefined && swapBytesOf(pod, container, { behavior, memoryBytes, totalBytes: memoryBytes }) > 0
      );
    },
  };
}
