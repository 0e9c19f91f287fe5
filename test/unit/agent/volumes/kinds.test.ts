import test from 'ava';
import { supportOf } from '../../../../agent/pods/field-support/field-support.ts';
import { createEmptyDirPlugin } from '../../../../agent/volumes/empty-dir.ts';
import { createHostPathPlugin } from '../../../../agent/volumes/host-path.ts';
import { createImageVolumePlugin } from '../../../../agent/volumes/image-volume.ts';
import { createPayloadPlugins } from '../../../../agent/volumes/payload-volume.ts';
import { createClaimPlugins } from '../../../../agent/volumes/persistent/claim-plugins.ts';
import { structSchema } from '../../../../src/kube/schema/tables.ts';

/** Nothing is set up here. */
const unused = {} as never;
const plugins = [
  createEmptyDirPlugin(unused),
  createHostPathPlugin(unused),
  createImageVolumePlugin(unused),
  ...createPayloadPlugins(unused),
  ...createClaimPlugins({ csi: { plugin: 'kubernetes.io/csi' } } as never).plugins,
];

test('a volume type is refused just where no plugin makes it', (t) => {
  const kinds = [...structSchema('core/v1', 'Volume').fields.keys()].filter((field) => field !== 'name');
  const taken = kinds.filter((kind) => supportOf('Volume', kind)?.kind !== 'refused');
  t.deepEqual(taken.toSorted(), plugins.map(({ kind }) => kind).toSorted());
});
