import type { ServiceAccount } from '../../src/kube/types.ts';
import type { ResourceDefinition, SubresourceDefinition } from '../apiserver/definition.ts';
import { ageColumn, column, nameColumn } from './columns.ts';
import { defineResource } from './define.ts';

export function defineServiceAccounts(
  subresources: Readonly<Record<string, SubresourceDefinition<ServiceAccount>>>,
): ResourceDefinition<ServiceAccount> {
  return defineResource<ServiceAccount>({
    subresources,
    kind: 'ServiceAccount',
    plural: 'serviceaccounts',
    shortNames: ['sa'],
    columns: [
      nameColumn,
      column(
        'Secrets',
        'string',
        'The number of secrets that pods of this account may use.',
        (account) => (account.secrets ?? []).length,
      ),
      ageColumn,
    ],
  });
}
