import test from 'ava';
import { applyPodDefaults } from '../../../../control-plane/resources/pod-spec/defaults.ts';
import { applyTemplateDefaults } from '../../../../control-plane/resources/pod-spec/template.ts';
import type { Pod, PodSpec } from '../../../../src/kube/types.ts';
import { meta } from '../../../support/strategy-context.ts';

function defaulted(spec: PodSpec): PodSpec {
  const pod: Pod = { metadata: meta('p'), spec: structuredClone(spec) };
  applyPodDefaults(pod);
  return pod.spec;
}

test('a bare pod gets every default', (t) => {
  t.deepEqual(JSON.parse(JSON.stringify(defaulted({ containers: [{ name: 'c', image: 'nginx' }] }))), {
    containers: [
      {
        name: 'c',
        image: 'nginx',
        imagePullPolicy: 'Always',
        terminationMessagePath: '/dev/termination-log',
        terminationMessagePolicy: 'File',
        resources: {},
      },
    ],
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 30,
    dnsPolicy: 'ClusterFirst',
    securityContext: {},
    schedulerName: 'default-scheduler',
    enableServiceLinks: true,
  });
});

test('defaults are idempotent', (t) => {
  const spec: PodSpec = {
    hostNetwork: true,
    containers: [
      {
        name: 'c',
        image: 'nginx:1.2',
        ports: [{ containerPort: 80 }],
        env: [{ name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }],
        resources: { limits: { cpu: '0.5', memory: '1024Mi' } },
        livenessProbe: { httpGet: { port: 80 } },
      },
    ],
    volumes: [{ name: 'a' }, { name: 'b', secret: { secretName: 's' } }, { name: 'h', hostPath: { path: '/x' } }],
  };
  const once = defaulted(spec);
  t.deepEqual(defaulted(once), once);
});

const pullPolicies: [string, string][] = [
  ['nginx', 'Always'],
  ['nginx:latest', 'Always'],
  ['host:5000/nginx', 'Always'],
  ['host:5000/nginx:1.0', 'IfNotPresent'],
  ['nginx:1.0', 'IfNotPresent'],
  ['nginx@sha256:abc', 'IfNotPresent'],
  ['nginx:1.0@sha256:abc', 'IfNotPresent'],
  ['nginx:latest@sha256:abc', 'Always'],
];
for (const [image, policy] of pullPolicies)
  test(`image ${image} is pulled ${policy}`, (t) => {
    t.is(defaulted({ containers: [{ name: 'c', image }] }).containers[0]?.imagePullPolicy, policy as never);
  });

test('requests follow limits, quantities become canonical and whole thousandths', (t) => {
  const spec = defaulted({
    containers: [
      {
        name: 'c',
        image: 'x:1',
        resources: { limits: { cpu: '0.5', memory: '1024Mi' }, requests: { cpu: '100.5m' } },
      },
    ],
  });
  t.deepEqual(spec.containers[0]?.resources, {
    limits: { cpu: '500m', memory: '1Gi' },
    requests: { cpu: '101m', memory: '1Gi' },
  });
});

test('a template leaves to the pod what is the pod’s', (t) => {
  const template = {
    spec: {
      hostNetwork: true,
      containers: [{ name: 'c', image: 'x:1', ports: [{ containerPort: 80 }], resources: { limits: { cpu: '1' } } }],
    } as PodSpec,
  };
  applyTemplateDefaults(template);
  t.is(template.spec.enableServiceLinks, undefined);
  t.is(template.spec.containers[0]?.ports?.[0]?.hostPort, undefined);
  t.is(template.spec.containers[0]?.resources?.requests, undefined);
  t.is(template.spec.containers[0]?.ports?.[0]?.protocol, 'TCP');
});

test('ports of a host network pod are the node’s', (t) => {
  const spec = defaulted({
    hostNetwork: true,
    containers: [{ name: 'c', image: 'x:1', ports: [{ containerPort: 80 }, { containerPort: 81, hostPort: 81 }] }],
  });
  t.deepEqual(spec.containers[0]?.ports, [
    { containerPort: 80, protocol: 'TCP', hostPort: 80 },
    { containerPort: 81, protocol: 'TCP', hostPort: 81 },
  ]);
});

test('probes, hooks and volumes', (t) => {
  const spec = defaulted({
    containers: [
      {
        name: 'c',
        image: 'x:1',
        readinessProbe: { httpGet: { port: 80 }, periodSeconds: 2 },
        livenessProbe: { grpc: { port: 9 } },
        lifecycle: { preStop: { httpGet: { port: 1 } } },
      },
    ],
    volumes: [
      { name: 'none' },
      { name: 'cm', configMap: { name: 'm' } },
      { name: 'host', hostPath: { path: '/x' } },
      {
        name: 'proj',
        projected: {
          sources: [
            { serviceAccountToken: { path: 'token' } },
            { downwardAPI: { items: [{ path: 'l', fieldRef: { fieldPath: 'metadata.labels' } }] } },
          ],
        },
      },
    ],
  });
  const container = spec.containers[0]!;
  t.deepEqual(container.readinessProbe, {
    httpGet: { port: 80, path: '/', scheme: 'HTTP' },
    periodSeconds: 2,
    timeoutSeconds: 1,
    successThreshold: 1,
    failureThreshold: 3,
  });
  t.is(container.livenessProbe?.grpc?.service, '');
  t.deepEqual(container.lifecycle?.preStop?.httpGet, { port: 1, path: '/', scheme: 'HTTP' });
  t.deepEqual(spec.volumes, [
    { name: 'none', emptyDir: {} },
    { name: 'cm', configMap: { name: 'm', defaultMode: 0o644 } },
    { name: 'host', hostPath: { path: '/x', type: '' } },
    {
      name: 'proj',
      projected: {
        defaultMode: 0o644,
        sources: [
          { serviceAccountToken: { path: 'token', expirationSeconds: 3600 } },
          { downwardAPI: { items: [{ path: 'l', fieldRef: { fieldPath: 'metadata.labels', apiVersion: 'v1' } }] } },
        ],
      },
    },
  ]);
});
