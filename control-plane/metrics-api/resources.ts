import type {
  ContainerMetrics,
  NodeMetrics,
  PodMetrics,
} from '../../src/kube/schema/generated/types/metrics-v1beta1.ts';
import type { KubeObject, Node, Pod } from '../../src/kube/types.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import type { ObjectReader, ResourceDefinition } from '../apiserver/definition.ts';
import { column, nameColumn } from '../resources/columns.ts';
import { defineResource } from '../resources/define.ts';
import type { NodeUsage, NodeUsageReader, Usage } from './node-usage.ts';

const NODES = { group: '', plural: 'nodes' };
const PODS = { group: '', plural: 'pods' };
/** Over which a node's agent takes the mean. */
const WINDOW = '10s';

/** metrics.k8s.io/v1beta1, which `kubectl top` and autoscalers ask: nothing of it is stored, the nodes are asked. */
export function metricsResources(usage: NodeUsageReader, objects: ObjectReader): ResourceDefinition[] {
  const common = { group: 'metrics.k8s.io', version: 'v1beta1', verbs: ['get', 'list'] as const };

  async function nodeMetrics(node: Node, nowMs: number): Promise<NodeMetrics | undefined> {
    const found = await usage.of(node.metadata.name);
    const used = found && resourcesOf(found.node);
    if (!used) return undefined;
    return { metadata: shown(node, nowMs), timestamp: timeOf(found.node, nowMs), window: WINDOW, usage: used };
  }

  async function podMetrics(pod: Pod, nowMs: number): Promise<PodMetrics | undefined> {
    const found = pod.spec.nodeName ? await usage.of(pod.spec.nodeName) : undefined;
    const of = found?.pods.find(({ podRef }) => podRef.uid === uidOf(pod) || isSame(podRef, pod));
    const containers = of && containersOf(of.containers ?? []);
    if (!containers) return undefined;
    return { metadata: shown(pod, nowMs), timestamp: timeOf(of.containers![0]!, nowMs), window: WINDOW, containers };
  }

  return [
    defineResource<NodeMetrics>({
      ...common,
      kind: 'NodeMetrics',
      plural: 'nodes',
      singular: '',
      namespaced: false,
      columns: [
        nameColumn,
        column('CPU', 'string', 'Cores in use.', ({ usage }) => usage['cpu'] ?? ''),
        column('Memory', 'string', 'Working set.', ({ usage }) => usage['memory'] ?? ''),
        column('Window', 'string', 'Over which the mean is taken.', ({ window }) => window),
      ],
      computed: {
        async get(_, name, nowMs) {
          const node = await objects.get<Node>(NODES, '', name);
          return node && nodeMetrics(node, nowMs);
        },
        list: async (_, nowMs) => present((await objects.list<Node>(NODES)).map((node) => nodeMetrics(node, nowMs))),
      },
    }),
    defineResource<PodMetrics>({
      ...common,
      kind: 'PodMetrics',
      plural: 'pods',
      singular: '',
      columns: [
        nameColumn,
        column('CPU', 'string', 'Cores in use.', ({ containers }) => sum(containers, 'cpu', 'n')),
        column('Memory', 'string', 'Working set.', ({ containers }) => sum(containers, 'memory', 'Ki')),
        column('Window', 'string', 'Over which the mean is taken.', ({ window }) => window),
      ],
      computed: {
        async get(namespace, name, nowMs) {
          const pod = await objects.get<Pod>(PODS, namespace, name);
          return pod && podMetrics(pod, nowMs);
        },
        list: async (namespace, nowMs) =>
          present((await objects.list<Pod>(PODS, namespace)).map((pod) => podMetrics(pod, nowMs))),
      },
    }),
  ] as unknown as ResourceDefinition<KubeObject>[];
}

/** Static pods are known to their node by another UID than that of their mirror. */
const uidOf = ({ metadata }: Pod) => metadata.annotations?.['kubernetes.io/config.hash'] ?? metadata.uid;
const isSame = (podRef: NodeUsage['pods'][number]['podRef'], { metadata }: Pod) =>
  podRef.uid === metadata.uid && podRef.name === metadata.name;

/** The object's own name and labels: selectors are those of the objects that are measured. */
function shown({ metadata }: KubeObject, nowMs: number): NodeMetrics['metadata'] {
  const { name, namespace, labels } = metadata;
  return {
    name,
    ...(namespace && { namespace }),
    ...(labels && { labels }),
    creationTimestamp: timestamp(nowMs),
  } as never;
}

const timeOf = ({ cpu }: Usage, nowMs: number) => cpu?.time ?? timestamp(nowMs);

function resourcesOf({ cpu, memory }: Usage): Record<string, string> | undefined {
  if (cpu?.usageNanoCores === undefined || memory?.workingSetBytes === undefined) return undefined;
  return { cpu: `${cpu.usageNanoCores}n`, memory: `${Math.ceil(memory.workingSetBytes / 1024)}Ki` };
}

/** Of a pod all containers or none: a sum that lacks one would look like a smaller pod. */
function containersOf(containers: readonly (Usage & { name: string })[]): ContainerMetrics[] | undefined {
  const measured = containers.map((one) => ({ name: one.name, usage: resourcesOf(one) }));
  return measured.length > 0 && measured.every(({ usage }) => usage) ? (measured as ContainerMetrics[]) : undefined;
}

const sum = (containers: readonly ContainerMetrics[], resource: string, unit: string) =>
  `${containers.reduce((total, { usage }) => total + Number.parseInt(usage[resource] ?? '0', 10), 0)}${unit}`;

async function present<T>(found: Promise<T | undefined>[]): Promise<T[]> {
  return (await Promise.all(found)).filter((one) => one !== undefined);
}
