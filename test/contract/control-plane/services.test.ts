import test from 'ava';
import { services } from '../../../src/kube/resources.ts';
import type { Service } from '../../../src/kube/types.ts';
import { startTestControlPlane, type TestControlPlane } from '../../support/control-plane.ts';

/** Addresses and ports of Services, through the real server and store. */

let controlPlane: TestControlPlane;

test.before(async () => {
  controlPlane = await startTestControlPlane();
  await controlPlane.createNamespaces('default');
});
test.after.always(() => controlPlane?.stop());

const make = (name: string, spec: Service['spec']) => ({
  metadata: { name },
  spec: { ports: [{ port: 80 }], ...spec },
});

test.serial('an address and a port are one Service’s until it goes', async (t) => {
  const admin = await controlPlane.admin();
  const wanted = { type: 'NodePort' as const, clusterIP: '10.96.0.50', ports: [{ port: 80, nodePort: 30050 }] };
  const inDefault = { namespace: 'default' };
  await admin.create<Service>(services, make('a', wanted), inDefault);
  await t.throwsAsync(admin.create<Service>(services, make('b', wanted), inDefault), {
    message: /^Service "b" is invalid: spec\.clusterIPs: Invalid value: \["10\.96\.0\.50"\]: .*already allocated$/,
  });
  await t.throwsAsync(admin.create<Service>(services, make('b', { ...wanted, clusterIP: '10.96.0.51' }), inDefault), {
    message:
      /^Service "b" is invalid: spec\.ports\[0\]\.nodePort: Invalid value: 30050: provided port is already allocated$/,
  });
  // What the refused ones had taken is free.
  await admin.create<Service>(services, make('c', { clusterIP: '10.96.0.51' }), inDefault);
  await admin.delete(services, { ...inDefault, name: 'a' });
  const again = await admin.create<Service>(services, make('a', wanted), inDefault);
  t.is(again.spec.clusterIP, '10.96.0.50');
});

test.serial('a change of type takes and gives back', async (t) => {
  const admin = await controlPlane.admin();
  const target = { namespace: 'default', name: 'd' };
  await admin.create<Service>(services, make('d', {}), { namespace: 'default' });
  const patched = (patch: object) =>
    admin.patch<Service>(services, { ...target, type: 'merge', patch: { spec: patch } });
  const onNodes = await patched({ type: 'NodePort' });
  const port = onNodes.spec.ports![0]!.nodePort!;
  t.true(port >= 30000 && port <= 32767);
  const plain = await patched({ type: 'ClusterIP' });
  t.is(plain.spec.ports![0]!.nodePort, undefined);
  const other = await admin.create<Service>(
    services,
    make('e', { type: 'NodePort', ports: [{ port: 80, nodePort: port }] }),
    { namespace: 'default' },
  );
  t.is(other.spec.ports![0]!.nodePort, port);
  await t.throwsAsync(patched({ clusterIP: '10.96.7.7' }), {
    message: /spec\.clusterIPs\[0\]: .*may not change once set/,
  });
});
