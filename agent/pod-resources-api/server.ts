import { GrpcError, type Unary } from '../../src/grpc/client.ts';
import { podResourcesLister, podResourcesListerV1alpha1 } from '../../src/grpc/pod-resources.ts';
import { createGrpcServer, type GrpcServer, type Served, serve } from '../../src/grpc/server.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import { createTokenBucket } from '../../src/runtime/token-bucket.ts';
import type { PodDirectory } from '../pods/ports.ts';
import { describeAllocatable, describePodResources, type Holdings, listPodResources } from './answers.ts';
import { createPodResourcesMetrics, type PodResourcesEndpoint } from './metrics.ts';

export interface PodResourcesApiDependencies {
  pods: Pick<PodDirectory, 'list' | 'get'>;
  holdings: Holdings;
  registry: Registry;
  clock: Clock;
}

/** Upstream's limits: more is nobody's honest need. */
const LIMIT = { perSecond: 100, burst: 10 };

/**
 * The pod resources API: which CPUs, memory and devices the containers of this node have. For monitoring agents on the node.
 * @param socketPath `<root>/pod-resources/kubelet.sock`; only root may ask
 */
export function createPodResourcesApi(
  { socketPath }: { socketPath: string },
  { pods, holdings, registry, clock }: PodResourcesApiDependencies,
): GrpcServer {
  const metrics = createPodResourcesMetrics(registry);
  const bucket = createTokenBucket(LIMIT, clock);

  function limited<Request, Response>(
    endpoint: PodResourcesEndpoint,
    version: string,
    method: Unary<Request, Response>,
    answer: (request: Request) => Response,
  ): Served {
    return serve(method, (request) => {
      if (!bucket.tryTake()) throw new GrpcError('ResourceExhausted', 'rejected by rate limit');
      metrics.request(endpoint, version);
      try {
        return answer(request);
      } catch (error) {
        metrics.failed(endpoint, version);
        throw error;
      }
    });
  }

  const list = () => ({ podResources: listPodResources(pods.list(), holdings) });
  return createGrpcServer({ socketPath }, [
    limited('list', 'v1', podResourcesLister.list, list),
    limited('list', 'v1alpha1', podResourcesListerV1alpha1.list, list),
    limited('get_allocatable', 'v1', podResourcesLister.getAllocatableResources, () => describeAllocatable(holdings)),
    limited('get', 'v1', podResourcesLister.get, ({ podName, podNamespace }) => {
      const pod = pods.get(podNamespace, podName);
      if (!pod) throw new Error(`pod ${podName} in namespace ${podNamespace} not found`);
      return { podResources: describePodResources(pod, holdings) };
    }),
  ]);
}
