import type { Service } from '../../src/kube/types.ts';
import type { ResourceDefinition, SubresourceDefinition, TableColumn } from '../apiserver/definition.ts';
import { serviceName } from '../apiserver/names.ts';
import type { ServiceAllocator } from './allocation/service-allocator.ts';
import { ageColumn, column, nameColumn, wideColumn } from './columns.ts';
import { defineResource } from './define.ts';
import { formatLabels } from './labels.ts';
import { allocateService, releaseService } from './services/allocate.ts';
import { dropOutdatedFields, keepAllocations, syncClusterIps } from './services/changes.ts';
import { applyServiceDefaults } from './services/defaults.ts';
import { applyFamilyDefaults, validateFamilies, validateFamilyUpdate } from './services/families.ts';
import { validateService, validateServiceStatus, validateServiceUpdate } from './services/validate.ts';

export function defineServices(
  allocator: ServiceAllocator,
  subresources: Readonly<Record<string, SubresourceDefinition<Service>>> = {},
): ResourceDefinition<Service> {
  const { families } = allocator;
  return defineResource<Service>(
    {
      kind: 'Service',
      plural: 'services',
      shortNames: ['svc'],
      categories: ['all'],
      validateName: serviceName,
      columns: serviceColumns,
      applyDefaults: applyServiceDefaults,
      prepareForCreate(service) {
        syncClusterIps(service, undefined);
        applyFamilyDefaults(service, undefined, families);
      },
      prepareForUpdate(service, old) {
        syncClusterIps(service, old);
        keepAllocations(service, old);
        dropOutdatedFields(service, old);
        applyFamilyDefaults(service, old, families);
      },
      validate: (service) => [...validateService(service), ...validateFamilies(service, families)],
      validateUpdate: (service, old) => [...validateServiceUpdate(service, old), ...validateFamilyUpdate(service, old)],
      selectableFields: {
        'spec.clusterIP': (service) => service.spec.clusterIP ?? '',
        'spec.type': (service) => service.spec.type ?? '',
      },
      hasStatus: true,
      subresources,
      status: { validateUpdate: validateServiceStatus },
      allowCreateOnUpdate: true,
      begin: (service, old) => allocateService(allocator, service, old),
      deleted: (service) => releaseService(allocator, service),
    },
    { initialStatus: () => ({ loadBalancer: {} }) },
  );
}

const serviceColumns: readonly TableColumn<Service>[] = [
  nameColumn,
  column('Type', 'string', 'How the service is exposed.', (service) => service.spec.type ?? ''),
  column(
    'Cluster-IP',
    'string',
    'The virtual address of the service.',
    (service) => service.spec.clusterIP || '<none>',
  ),
  column('External-IP', 'string', 'Addresses from outside of the cluster.', externalAddresses),
  column('Port(s)', 'string', 'The ports of the service.', describePorts),
  ageColumn,
  wideColumn('Selector', 'string', 'Labels of the pods behind it.', (service) => formatLabels(service.spec.selector)),
];

function externalAddresses({ spec, status }: Service): string {
  const external = spec.externalIPs ?? [];
  switch (spec.type) {
    case 'LoadBalancer': {
      const ingress = (status?.loadBalancer?.ingress ?? []).map((point) => point.ip || point.hostname || '');
      const all = [...ingress.filter((address) => address !== ''), ...external];
      return all.length > 0 ? all.join(',') : '<pending>';
    }
    case 'ExternalName':
      return spec.externalName ?? '';
    default:
      return external.length > 0 ? external.join(',') : '<none>';
  }
}

function describePorts({ spec }: Service): string {
  const ports = (spec.ports ?? []).map(({ port, nodePort, protocol }) =>
    nodePort ? `${port}:${nodePort}/${protocol}` : `${port}/${protocol}`,
  );
  return ports.length > 0 ? ports.join(',') : '<none>';
}
