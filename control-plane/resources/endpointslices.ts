import { isIPv4, isIPv6 } from 'node:net';
import type { DiscoveryEndpointPort, Endpoint, EndpointSlice } from '../../src/kube/types.ts';
import type { ResourceDefinition } from '../apiserver/definition.ts';
import { duplicate, type FieldError, notSupported, required, tooMany } from '../apiserver/field-error.ts';
import { labelKeyProblems } from '../apiserver/labels.ts';
import { labelName, subdomainName } from '../apiserver/names.ts';
import { ageColumn, column, firstThree, nameColumn } from './columns.ts';
import { defineResource } from './define.ts';
import { semanticEqual } from './equality.ts';
import { validateImmutable } from './labels.ts';
import { PROTOCOLS } from './pod-spec/containers.ts';
import { invalidFor, portNumberProblems, specialIpProblems } from './values.ts';

const ADDRESS_TYPES = ['FQDN', 'IPv4', 'IPv6'];
const MOST_ENDPOINTS = 1000;
const MOST_ADDRESSES = 100;
const MOST_PORTS = 20_000;
const MOST_ZONES = 8;

export const endpointSlices: ResourceDefinition<EndpointSlice> = defineResource<EndpointSlice>({
  group: 'discovery.k8s.io',
  kind: 'EndpointSlice',
  plural: 'endpointslices',
  columns: [
    nameColumn,
    column('AddressType', 'string', 'The type of the addresses.', (slice) => slice.addressType),
    column('Ports', 'string', 'The ports of every endpoint of this slice.', ({ ports }) =>
      firstThree(
        (ports ?? []).map(({ port, name }) => (typeof port === 'number' ? String(port) : name || '*')),
        '<unset>',
      ),
    ),
    column('Endpoints', 'string', 'The addresses in this slice.', ({ endpoints }) =>
      firstThree(
        (endpoints ?? []).flatMap(({ addresses }) => addresses ?? []),
        '<unset>',
      ),
    ),
    ageColumn,
  ],
  applyDefaults(slice) {
    slice.endpoints ??= [];
    for (const port of slice.ports ?? []) {
      port.name ??= '';
      port.protocol ||= 'TCP';
    }
  },
  validate: (slice) => [
    ...validateAddressType(slice.addressType),
    ...validateEndpoints(slice),
    ...validatePorts(slice.ports ?? []),
  ],
  validateUpdate: (slice, old) => validateImmutable(slice.addressType, old.addressType, 'addressType'),
  generationChanged: (slice, old) =>
    !semanticEqual([slice.endpoints, slice.ports, slice.addressType], [old.endpoints, old.ports, old.addressType]),
});

function validateAddressType(type: string | undefined): FieldError[] {
  if (!type) return [required('addressType')];
  return ADDRESS_TYPES.includes(type) ? [] : [notSupported('addressType', type, ADDRESS_TYPES)];
}

function validateEndpoints(slice: EndpointSlice): FieldError[] {
  const endpoints = slice.endpoints ?? [];
  if (endpoints.length > MOST_ENDPOINTS) return [tooMany('endpoints', endpoints.length, MOST_ENDPOINTS)];
  return endpoints.flatMap((endpoint, index) => validateEndpoint(endpoint, slice.addressType, `endpoints[${index}]`));
}

function validateEndpoint(endpoint: Endpoint, type: string, field: string): FieldError[] {
  const addresses = endpoint.addresses ?? [];
  const errors: FieldError[] = [];
  if (addresses.length === 0) errors.push(required(`${field}.addresses`, 'must contain at least 1 address'));
  if (addresses.length > MOST_ADDRESSES) errors.push(tooMany(`${field}.addresses`, addresses.length, MOST_ADDRESSES));
  addresses.forEach((address, index) => {
    errors.push(...invalidFor(`${field}.addresses[${index}]`, address, addressProblems(address, type)));
  });
  if (endpoint.hostname)
    errors.push(...invalidFor(`${field}.hostname`, endpoint.hostname, labelName(endpoint.hostname)));
  if (endpoint.nodeName)
    errors.push(...invalidFor(`${field}.nodeName`, endpoint.nodeName, subdomainName(endpoint.nodeName)));
  const zones = endpoint.hints?.forZones ?? [];
  if (zones.length > MOST_ZONES) errors.push(tooMany(`${field}.hints.forZones`, zones.length, MOST_ZONES));
  zones.forEach(({ name }, index) => {
    const at = `${field}.hints.forZones[${index}].name`;
    if (zones.findIndex((zone) => zone.name === name) < index) errors.push(duplicate(at, name));
    errors.push(...invalidFor(at, name, labelKeyProblems(name)));
  });
  return errors;
}

function addressProblems(address: string, type: string): string[] {
  switch (type) {
    case 'IPv4':
      return isIPv4(address) ? specialIpProblems(address) : ['must be a valid IPv4 address'];
    case 'IPv6':
      return isIPv6(address) ? specialIpProblems(address) : ['must be a valid IPv6 address'];
    case 'FQDN':
      return address.includes('.')
        ? subdomainName(address)
        : ['should be a domain with at least two segments separated by dots'];
    default:
      return [];
  }
}

function validatePorts(ports: readonly DiscoveryEndpointPort[]): FieldError[] {
  if (ports.length > MOST_PORTS) return [tooMany('ports', ports.length, MOST_PORTS)];
  const names = new Set<string>();
  return ports.flatMap((port, index) => {
    const at = `ports[${index}]`;
    const name = port.name ?? '';
    const errors: FieldError[] = name ? invalidFor(`${at}.name`, name, labelName(name)) : [];
    if (names.has(name)) errors.push(duplicate(`${at}.name`, name));
    names.add(name);
    if (!port.protocol) errors.push(required(`${at}.protocol`));
    else if (!PROTOCOLS.includes(port.protocol)) errors.push(notSupported(`${at}.protocol`, port.protocol, PROTOCOLS));
    if (typeof port.port === 'number')
      errors.push(...invalidFor(`${at}.port`, port.port, portNumberProblems(port.port)));
    if (port.appProtocol)
      errors.push(...invalidFor(`${at}.appProtocol`, port.appProtocol, labelKeyProblems(port.appProtocol)));
    return errors;
  });
}
