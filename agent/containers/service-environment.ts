import type { EnvVar, Service } from '../../src/kube/types.ts';
import type { ServiceEnvironment } from '../pods/ports.ts';

const MASTER_NAMESPACE = 'default';
const MASTER_SERVICE = 'kubernetes';

const variableName = (text: string) => text.toUpperCase().replaceAll('-', '_');

/** The variables of one service (sheet §7); none for headless services and those without an address. */
export function variablesOfService(service: Service): EnvVar[] {
  const ip = service.spec.clusterIP;
  const ports = service.spec.ports ?? [];
  const [first] = ports;
  if (!ip || ip === 'None' || !first) return [];
  const prefix = variableName(service.metadata.name);
  const host = ip.includes(':') ? `[${ip}]` : ip;
  const url = (port: (typeof ports)[number]) => `${(port.protocol ?? 'TCP').toLowerCase()}://${host}:${port.port}`;
  const variables: EnvVar[] = [
    { name: `${prefix}_SERVICE_HOST`, value: ip },
    { name: `${prefix}_SERVICE_PORT`, value: String(first.port) },
  ];
  for (const port of ports)
    if (port.name)
      variables.push({ name: `${prefix}_SERVICE_PORT_${variableName(port.name)}`, value: String(port.port) });
  variables.push({ name: `${prefix}_PORT`, value: url(first) });
  for (const port of ports) {
    const protocol = port.protocol ?? 'TCP';
    const stem = `${prefix}_PORT_${port.port}_${protocol}`;
    variables.push(
      { name: stem, value: url(port) },
      { name: `${stem}_PROTO`, value: protocol.toLowerCase() },
      { name: `${stem}_PORT`, value: String(port.port) },
      { name: `${stem}_ADDR`, value: ip },
    );
  }
  return variables;
}

/** A service of the pod's own namespace that is also named `kubernetes` takes that one's place. */
function visibleServices(services: Service[], namespace: string, enableServiceLinks: boolean): Service[] {
  const isOwn = ({ metadata }: Service) => enableServiceLinks && metadata.namespace === namespace;
  const isMaster = ({ metadata }: Service) =>
    metadata.namespace === MASTER_NAMESPACE && metadata.name === MASTER_SERVICE;
  const own = services.filter(isOwn);
  const hasOwnMaster = own.some(({ metadata }) => metadata.name === MASTER_SERVICE);
  return hasOwnMaster ? own : [...own, ...services.filter(isMaster)];
}

/** Services of the pod's own namespace (with service links) and always `kubernetes` in `default`. */
export function createServiceEnvironment(listServices: () => Service[]): ServiceEnvironment {
  return (namespace, enableServiceLinks) =>
    visibleServices(listServices(), namespace, enableServiceLinks)
      .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
      .flatMap(variablesOfService);
}
