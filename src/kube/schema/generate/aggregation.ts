import type { PackageFacts } from './facts.ts';

const group = 'apiregistration.k8s.io';
const typeMeta = ['TypeMeta', 'meta/v1#TypeMeta', 0, 'i'] as const;

/** apiregistration.k8s.io/v1 by hand: Debian has no package of the aggregator's sources. */
export function aggregationPackage(): [id: string, facts: PackageFacts] {
  return [
    'apiregistration/v1',
    {
      group,
      version: 'v1',
      model: 'io.k8s.kube-aggregator.pkg.apis.apiregistration.v1',
      kinds: {
        APIService: { type: '#APIService', namespaced: false, introduced: '1.10' },
        APIServiceList: { type: '#APIServiceList', introduced: '1.10' },
      },
      types: {
        APIService: {
          fields: [
            [...typeMeta],
            ['metadata', 'meta/v1#ObjectMeta', 1, 'oe'],
            ['spec', '#APIServiceSpec', 2, 'oe'],
            ['status', '#APIServiceStatus', 3, 'oe'],
          ],
        },
        APIServiceList: {
          fields: [[...typeMeta], ['metadata', 'meta/v1#ListMeta', 1, 'oe'], ['items', '[]#APIService', 2, '']],
        },
        APIServiceSpec: {
          fields: [
            ['service', '#ServiceReference', 1, 'poe'],
            ['group', 'string', 2, 'oe'],
            ['version', 'string', 3, 'oe'],
            ['insecureSkipTLSVerify', 'bool', 4, 'oe'],
            ['caBundle', 'bytes', 5, 'oe', { listType: 'atomic' }],
            ['groupPriorityMinimum', 'int32', 7, ''],
            ['versionPriority', 'int32', 8, ''],
          ],
        },
        APIServiceStatus: {
          fields: [
            [
              'conditions',
              '[]#APIServiceCondition',
              1,
              'oe',
              { listType: 'map', listMapKeys: ['type'], patchStrategy: 'merge', patchMergeKey: 'type' },
            ],
          ],
        },
        APIServiceCondition: {
          fields: [
            ['type', 'string', 1, ''],
            ['status', 'string', 2, ''],
            ['lastTransitionTime', 'Time', 3, 'oe'],
            ['reason', 'string', 4, 'oe'],
            ['message', 'string', 5, 'oe'],
          ],
        },
        ServiceReference: {
          fields: [
            ['namespace', 'string', 1, 'oe'],
            ['name', 'string', 2, 'oe'],
            ['port', 'int32', 3, 'poe'],
          ],
        },
      },
    },
  ];
}
