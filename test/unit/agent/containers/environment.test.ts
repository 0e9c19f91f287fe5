import test from 'ava';
import { buildEnvironment, needsAddress } from '../../../../agent/containers/environment.ts';
import { expandVariables } from '../../../../agent/containers/expansion.ts';
import { createServiceEnvironment, variablesOfService } from '../../../../agent/containers/service-environment.ts';
import type { ConfigSources } from '../../../../agent/pods/ports.ts';
import type { Container, Service } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';

const values: Record<string, string> = { A: 'x', EMPTY: '', 'with-dash': 'd' };

for (const [text, expected] of [
  ['plain', 'plain'],
  ['$(A)', 'x'],
  ['a$(A)b$(A)', 'axbx'],
  ['$(EMPTY)', ''],
  ['$(with-dash)', 'd'],
  ['$(UNKNOWN)', '$(UNKNOWN)'],
  ['$$(A)', '$(A)'],
  ['$$$(A)', '$x'],
  ['$$$$(A)', '$$(A)'],
  ['$A', '$A'],
  ['$(A', '$(A'],
  ['$', '$'],
  ['a$', 'a$'],
  ['$()', '$()'],
  ['$(A)$', 'x$'],
  ['$(A$(A)', '$(A$(A)'],
] as const)
  test(`expansion of ${text}`, (t) => {
    t.is(
      expandVariables(text, (name) => values[name]),
      expected,
    );
  });

const secrets: Record<string, Record<string, string>> = {
  keys: { TOKEN: Buffer.from('s3cret').toString('base64') },
  binary: { KEY: '/w==', TEXT: 'w6TDtg==' },
};
const config: ConfigSources = {
  configMap: async (_, name) => (name === 'settings' ? { data: { COLOR: 'red', 'a=b': 'bad', PORT: '1' } } : undefined),
  secret: async (_, name) => (secrets[name] ? { data: secrets[name] } : undefined),
};

async function environmentOf(container: Partial<Container>, services: { name: string; value: string }[] = []) {
  const own: Container = { name: 'app', image: 'i', ...container };
  const pod = podOf(
    { containers: [own], nodeName: 'n1', serviceAccountName: 'sa' },
    { labels: { tier: 'web' }, annotations: { 'example.com/a': 'note' } },
  );
  const { variables, invalid } = await buildEnvironment(
    {
      pod,
      container: own,
      addresses: { podIps: ['10.0.0.1', 'fd00::1'], hostIps: ['192.0.2.1'] },
      allocatable: { cpuMillis: 3900, memoryBytes: 4096, ephemeralStorageBytes: 8192 },
    },
    { config, services: () => services },
  );
  return { variables: Object.fromEntries(variables), invalid };
}

test('later variables see earlier ones; services fill what is not set', async (t) => {
  const { variables } = await environmentOf(
    {
      env: [
        { name: 'A', value: '1' },
        { name: 'B', value: '$(A)-$(DB_PORT)-$(LATER)' },
        { name: 'LATER', value: '2' },
        { name: 'DB_HOST', value: 'mine' },
      ],
    },
    [
      { name: 'DB_PORT', value: '5432' },
      { name: 'DB_HOST', value: 'theirs' },
    ],
  );
  t.deepEqual(variables, { A: '1', B: '1-5432-$(LATER)', LATER: '2', DB_HOST: 'mine', DB_PORT: '5432' });
});

test('envFrom: prefixes, later wins, unusable keys are told', async (t) => {
  const { variables, invalid } = await environmentOf({
    envFrom: [
      { prefix: 'P_', configMapRef: { name: 'settings' } },
      { secretRef: { name: 'keys' } },
      { configMapRef: { name: 'none', optional: true } },
    ],
    env: [{ name: 'P_PORT', value: '2' }],
  });
  t.deepEqual(variables, { P_COLOR: 'red', P_PORT: '2', TOKEN: 's3cret' });
  t.deepEqual(invalid, [{ source: 'configMap default/settings', keys: ['P_a=b'] }]);
});

test('references to fields, resources, config maps, secrets', async (t) => {
  const field = (fieldPath: string) => ({ valueFrom: { fieldRef: { fieldPath } } });
  const { variables } = await environmentOf({
    resources: { limits: { cpu: '1500m', memory: '10Mi' }, requests: { cpu: '100m' } },
    env: [
      { name: 'NAME', ...field('metadata.name') },
      { name: 'LABEL', ...field("metadata.labels['tier']") },
      { name: 'NOTE', ...field("metadata.annotations['example.com/a']") },
      { name: 'IP', ...field('status.podIP') },
      { name: 'IPS', ...field('status.podIPs') },
      { name: 'HOST', ...field('status.hostIP') },
      { name: 'NODE', ...field('spec.nodeName') },
      { name: 'CPU', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } },
      { name: 'CPU_M', valueFrom: { resourceFieldRef: { resource: 'limits.cpu', divisor: '1m' } } },
      { name: 'MEM', valueFrom: { resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } } },
      { name: 'DISK', valueFrom: { resourceFieldRef: { resource: 'limits.ephemeral-storage' } } },
      { name: 'REQ', valueFrom: { resourceFieldRef: { resource: 'requests.memory' } } },
      { name: 'COLOR', valueFrom: { configMapKeyRef: { name: 'settings', key: 'COLOR' } } },
      { name: 'TOKEN', valueFrom: { secretKeyRef: { name: 'keys', key: 'TOKEN' } } },
      { name: 'OPTIONAL', valueFrom: { secretKeyRef: { name: 'keys', key: 'NONE', optional: true } } },
    ],
  });
  t.deepEqual(variables, {
    NAME: 'web',
    LABEL: 'web',
    NOTE: 'note',
    IP: '10.0.0.1',
    IPS: '10.0.0.1,fd00::1',
    HOST: '192.0.2.1',
    NODE: 'n1',
    CPU: '2',
    CPU_M: '1500',
    MEM: '10',
    DISK: '8192',
    REQ: '0',
    COLOR: 'red',
    TOKEN: 's3cret',
  });
});

for (const [title, container, message] of [
  [
    'config map',
    { env: [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'none', key: 'k' } } }] },
    'configmap "none" not found',
  ],
  [
    'key of a config map',
    { env: [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'settings', key: 'k' } } }] },
    "couldn't find key k in ConfigMap default/settings",
  ],
  [
    'key that only every object of JavaScript has',
    { env: [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'settings', key: 'constructor' } } }] },
    "couldn't find key constructor in ConfigMap default/settings",
  ],
  [
    'text: a binary key',
    { env: [{ name: 'X', valueFrom: { secretKeyRef: { name: 'binary', key: 'KEY' } } }] },
    'key KEY of Secret default/binary is not UTF-8 text: mount it as a file instead',
  ],
  [
    'text: a binary key among all',
    { envFrom: [{ secretRef: { name: 'binary' } }] },
    'key KEY of Secret default/binary is not UTF-8 text: mount it as a file instead',
  ],
  ['secret', { envFrom: [{ secretRef: { name: 'none' } }] }, 'secret "none" not found'],
  [
    'key of a secret',
    { env: [{ name: 'X', valueFrom: { secretKeyRef: { name: 'keys', key: 'k' } } }] },
    "couldn't find key k in Secret default/keys",
  ],
] as [string, Partial<Container>, string][])
  test(`missing ${title}`, async (t) => {
    const error = await t.throwsAsync(environmentOf(container), { message });
    t.is((error as { reason?: string }).reason, 'CreateContainerConfigError');
  });

test('which containers have to wait for the address', (t) => {
  const env = [{ name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }];
  t.true(needsAddress({ name: 'a', env }));
  t.false(needsAddress({ name: 'a', env: [{ name: 'IP', value: '1' }] }));
});

test('service variables', (t) => {
  const service = (spec: Partial<Service['spec']>) =>
    ({ metadata: { name: 'my-db', namespace: 'default' }, spec }) as unknown as Service;
  const ports = [
    { name: 'sql', port: 5432, protocol: 'TCP' as const },
    { name: 'admin-ui', port: 80 },
  ];
  t.deepEqual(
    Object.fromEntries(variablesOfService(service({ clusterIP: '10.96.0.9', ports })).map((v) => [v.name, v.value])),
    {
      MY_DB_SERVICE_HOST: '10.96.0.9',
      MY_DB_SERVICE_PORT: '5432',
      MY_DB_SERVICE_PORT_SQL: '5432',
      MY_DB_SERVICE_PORT_ADMIN_UI: '80',
      MY_DB_PORT: 'tcp://10.96.0.9:5432',
      MY_DB_PORT_5432_TCP: 'tcp://10.96.0.9:5432',
      MY_DB_PORT_5432_TCP_PROTO: 'tcp',
      MY_DB_PORT_5432_TCP_PORT: '5432',
      MY_DB_PORT_5432_TCP_ADDR: '10.96.0.9',
      MY_DB_PORT_80_TCP: 'tcp://10.96.0.9:80',
      MY_DB_PORT_80_TCP_PROTO: 'tcp',
      MY_DB_PORT_80_TCP_PORT: '80',
      MY_DB_PORT_80_TCP_ADDR: '10.96.0.9',
    },
  );
  t.deepEqual(variablesOfService(service({ clusterIP: 'None', ports })), []);
  t.deepEqual(variablesOfService(service({ ports })), []);
});

test('a binary key does not spoil the others of its secret', async (t) => {
  const { variables } = await environmentOf({
    env: [{ name: 'X', valueFrom: { secretKeyRef: { name: 'binary', key: 'TEXT' } } }],
  });
  t.deepEqual(variables, { X: 'äö' });
});

test('which services a pod sees', (t) => {
  const service = (namespace: string, name: string, clusterIP: string) =>
    ({ metadata: { name, namespace }, spec: { clusterIP, ports: [{ port: 1 }] } }) as unknown as Service;
  const all = [
    service('default', 'kubernetes', '10.96.0.1'),
    service('default', 'other', '10.96.0.2'),
    service('shop', 'db', '10.96.0.3'),
    service('odd', 'kubernetes', '10.96.0.4'),
  ];
  const hosts = (namespace: string, links: boolean) =>
    createServiceEnvironment(() => all)(namespace, links)
      .filter(({ name }) => name.endsWith('_SERVICE_HOST'))
      .map(({ name, value }) => `${name}=${value}`);
  t.deepEqual(hosts('shop', true), ['DB_SERVICE_HOST=10.96.0.3', 'KUBERNETES_SERVICE_HOST=10.96.0.1']);
  t.deepEqual(hosts('shop', false), ['KUBERNETES_SERVICE_HOST=10.96.0.1']);
  t.deepEqual(hosts('odd', true), ['KUBERNETES_SERVICE_HOST=10.96.0.4']);
  t.deepEqual(hosts('odd', false), ['KUBERNETES_SERVICE_HOST=10.96.0.1']);
  t.deepEqual(hosts('default', true), ['KUBERNETES_SERVICE_HOST=10.96.0.1', 'OTHER_SERVICE_HOST=10.96.0.2']);
});
