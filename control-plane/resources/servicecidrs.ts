import type { ServiceCIDR } from '../../src/kube/schema/generated/types/networking-v1.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import type { ResourceDefinition } from '../apiserver/definition.ts';
import { forbidden, invalid } from '../apiserver/field-error.ts';
import { ageColumn, column, nameColumn } from './columns.ts';
import { defineResource } from './define.ts';

/** The one that describes the range of the control plane itself; upstream's name. */
export const DEFAULT_SERVICE_CIDR = 'kubernetes';

/** The ranges that cluster IPs are from: what proxies ask, to drop packets to addresses that no Service has. */
export const serviceCidrs: ResourceDefinition<ServiceCIDR> = defineResource<ServiceCIDR>(
  {
    group: 'networking.k8s.io',
    kind: 'ServiceCIDR',
    plural: 'servicecidrs',
    namespaced: false,
    hasStatus: true,
    columns: [
      nameColumn,
      column('CIDRs', 'string', 'The ranges, commas between.', ({ spec }) => (spec.cidrs ?? []).join(',')),
      ageColumn,
    ],
    // Who edits it finds it mended soon: the allocator has one range, which `berth up --service-cidr` gives: another one would never be used.
    validate: ({ metadata, spec }) => [
      ...(metadata.name === DEFAULT_SERVICE_CIDR
        ? []
        : [
            forbidden(
              'metadata.name',
              `this control plane has one range, ${DEFAULT_SERVICE_CIDR}; it does not allocate from others`,
            ),
          ]),
      ...(spec?.cidrs?.length ? [] : [invalid('spec.cidrs', spec?.cidrs, 'at least one CIDR required')]),
    ],
  },
  {
    initialStatus: () => ({
      conditions: [
        {
          type: 'Ready',
          status: 'True',
          reason: '',
          message: 'Kubernetes default Service CIDR is ready',
          lastTransitionTime: timestamp(Date.now()),
        },
      ],
    }),
  },
);
