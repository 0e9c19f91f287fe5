import test from 'ava';
import {
  groupVersionOf,
  registeredKinds,
  type StructSchema,
  schemaOf,
  structSchema,
  type TypeSchema,
} from '../../../../src/kube/schema/tables.ts';

/** Every struct that a registered kind reaches. */
function allStructs(): Set<StructSchema> {
  const structs = new Set<StructSchema>();
  const visit = (type: TypeSchema): void => {
    if (type.kind === 'list') visit(type.element);
    else if (type.kind === 'map') visit(type.value);
    else if (type.kind === 'struct' && !structs.has(type)) {
      structs.add(type);
      for (const field of [...type.fields.values(), ...type.wire.values()]) visit(field.type);
    }
  };
  for (const { group, version, kind } of registeredKinds()) visit(schemaOf(groupVersionOf(group, version), kind)!);
  return structs;
}

test('every registered kind has a struct, and all types resolve', (t) => {
  for (const { group, version, kind } of registeredKinds()) {
    t.truthy(schemaOf(groupVersionOf(group, version), kind), `${group}/${version} ${kind}`);
  }
  t.true(allStructs().size > 900);
});

test('what the control plane serves is there', (t) => {
  const kinds = new Set(
    registeredKinds().map(({ group, version, kind }) => `${groupVersionOf(group, version)} ${kind}`),
  );
  const served = [
    ...[
      'Pod',
      'Service',
      'Node',
      'Namespace',
      'ConfigMap',
      'Secret',
      'ServiceAccount',
      'Event',
      'Binding',
      'Status',
      'DeleteOptions',
    ].map((kind) => `v1 ${kind}`),
    ...['Deployment', 'ReplicaSet', 'StatefulSet', 'DaemonSet', 'DeleteOptions'].map((kind) => `apps/v1 ${kind}`),
    'discovery.k8s.io/v1 EndpointSlice',
    'coordination.k8s.io/v1 Lease',
    'apiextensions.k8s.io/v1 CustomResourceDefinition',
    'apiregistration.k8s.io/v1 APIService',
    'metrics.k8s.io/v1beta1 PodMetrics',
    'authentication.k8s.io/v1 TokenRequest',
    'policy/v1 Eviction',
    'meta.k8s.io/v1 Table',
  ];
  for (const name of served) t.true(kinds.has(name), name);
  t.false(kinds.has('extensions/v1beta1 Ingress'), 'removed before the emulated release');
});

test('kinds know their scope and their deprecation', (t) => {
  const find = (kind: string) => registeredKinds().find((item) => item.group === '' && item.kind === kind)!;
  t.true(find('Pod').namespaced);
  t.false(find('Node').namespaced);
  t.is(find('Endpoints').introduced, '1.0');
  t.is(find('PodList').namespaced, undefined);
});

test('no struct has a field or a protobuf number twice, or a merge key that its elements lack', (t) => {
  for (const schema of allStructs()) {
    const numbers = [...schema.wire.values()].map((field) => field.number);
    t.is(new Set(numbers).size, numbers.length, schema.id);
    for (const field of schema.fields.values()) {
      const where = `${schema.id}.${field.name}`;
      const element = field.type.kind === 'list' ? field.type.element : undefined;
      const keys = [...(field.listMapKeys ?? []), ...(field.patchMergeKey ? [field.patchMergeKey] : [])];
      t.is(field.listType === 'map', field.listMapKeys !== undefined, where);
      // A marker left behind upstream on a field that is no list.
      if (element?.kind !== 'struct') continue;
      for (const key of keys) t.true(element.fields.has(key), `${where}: ${key}`);
      if (field.patchStrategies.includes('merge')) t.truthy(field.patchMergeKey, where);
    }
  }
});

test('merge rules of the specification', (t) => {
  const field = (type: string, name: string, id = 'core/v1') => structSchema(id, type).fields.get(name)!;
  const keys: [type: string, name: string, key: string | undefined, id?: string][] = [
    ['ObjectMeta', 'ownerReferences', 'uid', 'meta/v1'],
    ['PodSpec', 'containers', 'name'],
    ['PodSpec', 'hostAliases', 'ip'],
    ['PodSpec', 'topologySpreadConstraints', 'topologyKey'],
    ['PodSpec', 'tolerations', undefined],
    ['Container', 'volumeMounts', 'mountPath'],
    ['Container', 'envFrom', undefined],
    ['PodStatus', 'conditions', 'type'],
    ['ServiceSpec', 'ports', 'port'],
    ['NodeStatus', 'addresses', 'type'],
    ['ServiceAccount', 'imagePullSecrets', undefined],
  ];
  for (const [type, name, key, id] of keys) t.is(field(type, name, id).patchMergeKey, key, `${type}.${name}`);
  t.deepEqual(field('ServiceSpec', 'ports').listMapKeys, ['port', 'protocol']);
  t.deepEqual(field('ObjectMeta', 'finalizers', 'meta/v1').patchStrategies, ['merge']);
  t.deepEqual(field('PodSpec', 'volumes').patchStrategies, ['merge', 'retainKeys']);
  t.deepEqual(field('DeploymentSpec', 'strategy', 'apps/v1').patchStrategies, ['retainKeys']);
  t.is(field('ServicePort', 'protocol').default, 'TCP');
  t.is(field('ServiceSpec', 'selector').mapType, 'atomic');
});

test('pointers, inline structs, wrapped lists, enums', (t) => {
  const spec = structSchema('apps/v1', 'DeploymentSpec');
  t.true(spec.fields.get('replicas')!.pointer);
  t.false(spec.fields.get('minReadySeconds')!.pointer);
  t.deepEqual(spec.required, ['selector', 'template']);
  const volume = structSchema('core/v1', 'Volume');
  t.true(volume.fields.has('emptyDir'));
  t.true(volume.wire.get(2)!.inline);
  const extra = structSchema('authentication/v1', 'UserInfo').fields.get('extra')!.type;
  t.true(extra.kind === 'map' && extra.value.kind === 'list' && extra.value.wrapped);
  const phase = structSchema('core/v1', 'PodStatus').fields.get('phase')!.type;
  t.deepEqual(phase.kind === 'scalar' && phase.values, ['Failed', 'Pending', 'Running', 'Succeeded', 'Unknown']);
  t.throws(() => structSchema('core/v1', 'Nothing'), { message: /core\/v1#Nothing is not in the schema tables/ });
  t.is(schemaOf('v1', 'Nothing'), undefined);
  t.is(schemaOf('none/v1', 'Pod'), undefined);
});
