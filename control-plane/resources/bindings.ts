import type { Binding, KubeObject, Pod } from '../../src/kube/types.ts';
import { ALL_VERBS, type ResourceDefinition } from '../apiserver/definition.ts';
import { defineResource } from './define.ts';
import { podBinding } from './pods/binding.ts';

const PODS = { group: '', plural: 'pods' };

/** POST …/bindings: the old way to pods/NAME/binding; never stored. */
export const bindings: ResourceDefinition<Binding> = defineResource<Binding>({
  kind: 'Binding',
  plural: 'bindings',
  verbs: ALL_VERBS.filter((verb) => verb === 'create'),
  columns: [],
  virtual: {
    create: ({ object, namespace, context, modify }) =>
      podBinding.create({
        namespace,
        name: object.metadata.name,
        body: object as unknown as KubeObject & Record<string, unknown>,
        context,
        modify: (change) => modify<Pod>(PODS, object.metadata.name, change),
      }),
  },
});
