import { isIP } from 'node:net';
import type { Pod } from '../../../src/kube/types.ts';
import type { ConnectSubresource } from '../definition.ts';
import { badRequest } from '../status-error.ts';
import { proxyToEndpoint } from './endpoint-proxy.ts';
import { objectNameOf, parseTargetName } from './target-name.ts';

const SCHEME_PORTS = { http: 80, https: 443 };

/** pods/proxy: a server in a pod through the API server, `/api/v1/namespaces/NS/pods/[SCHEME:]NAME[:PORT]/proxy/PATH`. The first port that a container declares unless one is said. */
export const podProxySubresource: ConnectSubresource<Pod> = {
  style: 'connect',
  optionsKind: 'PodProxyOptions',
  verbs: ['get', 'create', 'update', 'patch', 'delete'],
  takesPath: true,
  objectName: objectNameOf('pod'),
  async connect(request) {
    const { scheme, port } = parseTargetName('pod', request.name);
    const { spec, status } = request.object;
    const host = status?.podIP ?? '';
    if (!isIP(host)) throw badRequest('address not allowed');
    const declared = spec.containers.find(({ ports = [] }) => ports.length > 0)?.ports?.[0]?.containerPort;
    const number = port === '' ? (declared ?? SCHEME_PORTS[scheme]) : Number(port);
    if (!Number.isInteger(number) || number < 1 || number > 65_535)
      throw badRequest(`invalid pod request ${JSON.stringify(request.name)}: the port is no number of a port`);
    await proxyToEndpoint(request, { scheme, host, port: number });
  },
};
