import type { EndpointAddress, EndpointPort, EndpointSubset, Endpoints } from '../../src/kube/types.ts';
import type { ResourceDefinition } from '../apiserver/definition.ts';
import { type FieldError, notSupported, required } from '../apiserver/field-error.ts';
import { labelKeyProblems } from '../apiserver/labels.ts';
import { labelName, subdomainName } from '../apiserver/names.ts';
import { ageColumn, column, firstThree, nameColumn } from './columns.ts';
import { defineResource } from './define.ts';
import { PROTOCOLS } from './pod-spec/containers.ts';
import { invalidFor, ipProblems, portNumberProblems, specialIpProblems } from './values.ts';

/** core/v1 Endpoints: old clients still read and write them. */
export const endpoints: ResourceDefinition<Endpoints> = defineResource<Endpoints>({
  kind: 'Endpoints',
  plural: 'endpoints',
  singular: 'endpoints',
  shortNames: ['ep'],
  columns: [
    nameColumn,
    column('Endpoints', 'string', 'Addresses and ports that implement the service.', ({ subsets }) =>
      firstThree((subsets ?? []).flatMap(formatSubset), '<none>'),
    ),
    ageColumn,
  ],
  applyDefaults(object) {
    for (const subset of object.subsets ?? []) for (const port of subset.ports ?? []) port.protocol ||= 'TCP';
  },
  prepareForCreate: (_object, context) =>
    context.warn('v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice'),
  validate: ({ subsets }) => (subsets ?? []).flatMap((subset, index) => validateSubset(subset, `subsets[${index}]`)),
  allowCreateOnUpdate: true,
});

function formatSubset({ addresses = [], ports = [] }: EndpointSubset): string[] {
  if (ports.length === 0) return addresses.map(({ ip }) => ip);
  return ports.flatMap(({ port }) =>
    addresses.map(({ ip }) => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`)),
  );
}

function validateSubset(subset: EndpointSubset, field: string): FieldError[] {
  const { addresses = [], notReadyAddresses = [], ports = [] } = subset;
  const errors: FieldError[] = [];
  if (addresses.length === 0 && notReadyAddresses.length === 0)
    errors.push(required(field, 'must specify `addresses` or `notReadyAddresses`'));
  addresses.forEach((address, index) => {
    errors.push(...validateAddress(address, `${field}.addresses[${index}]`));
  });
  notReadyAddresses.forEach((address, index) => {
    errors.push(...validateAddress(address, `${field}.notReadyAddresses[${index}]`));
  });
  ports.forEach((port, index) => {
    errors.push(...validatePort(port, ports.length > 1, `${field}.ports[${index}]`));
  });
  return errors;
}

function validateAddress(address: EndpointAddress, field: string): FieldError[] {
  const { ip = '', hostname, nodeName } = address;
  const problems = ipProblems(ip);
  return [
    ...invalidFor(`${field}.ip`, ip, problems.length > 0 ? problems : specialIpProblems(ip)),
    ...(hostname ? invalidFor(`${field}.hostname`, hostname, labelName(hostname)) : []),
    ...(nodeName ? invalidFor(`${field}.nodeName`, nodeName, subdomainName(nodeName)) : []),
  ];
}

function validatePort(port: EndpointPort, isNameRequired: boolean, field: string): FieldError[] {
  const errors: FieldError[] = [];
  if (port.name) errors.push(...invalidFor(`${field}.name`, port.name, labelName(port.name)));
  else if (isNameRequired) errors.push(required(`${field}.name`));
  errors.push(...invalidFor(`${field}.port`, port.port ?? 0, portNumberProblems(port.port ?? 0)));
  if (!port.protocol) errors.push(required(`${field}.protocol`));
  else if (!PROTOCOLS.includes(port.protocol)) errors.push(notSupported(`${field}.protocol`, port.protocol, PROTOCOLS));
  if (port.appProtocol)
    errors.push(...invalidFor(`${field}.appProtocol`, port.appProtocol, labelKeyProblems(port.appProtocol)));
  return errors;
}
