import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { createCertificateFiles } from '../../agent/certificates/certificate-files.ts';
import { type NodeCertificateRequest, requestNodeCertificate } from '../../agent/certificates/certificate-request.ts';
import { createRotation } from '../../agent/certificates/rotation.ts';
import { type NodeAddressSource, servingNames, whichNamesLack } from '../../agent/certificates/serving-names.ts';
import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import type { AgentServer } from '../../agent/server/server.ts';
import { registerCertificateMetrics } from '../../agent/stats/certificates.ts';
import type { CertificatePair } from '../../src/auth/authority.ts';
import { needsRenewal } from '../../src/auth/certificate.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';
import type { AgentApi } from './agent-api.ts';
import type { AgentPartOptions } from './agent-part-options.ts';
import type { ProgramContext } from './context.ts';
import { createServedFilesPart } from './served-files.ts';

const CLIENT_FILES = 'kubelet-client';
const SERVING_FILES = 'kubelet-server';

export const clientCertificateFiles = (certDir: string) => createCertificateFiles(certDir, CLIENT_FILES);
export const servingCertificateFiles = (certDir: string) => createCertificateFiles(certDir, SERVING_FILES);

/**
 * The node's certificates while it lives: their ends as series; new ones in time where the configuration asks for it (rotateCertificates, serverTLSBootstrap) and there is
 * a directory to keep them in; and what others put into the files that the HTTPS port serves with.
 */
export function createCertificatesPart(
  options: AgentPartOptions,
  { server, addresses }: { server: Pick<AgentServer, 'useCertificate' | 'useClientCa'>; addresses?: NodeAddressSource },
  context: ProgramContext,
): Record<string, Runnable> {
  const { config, client, nodeName, certDir } = options;
  const { clock, log } = context;
  const current = { client: options.clientCertPem, serving: options.serving.certPem };
  const metrics = registerCertificateMetrics(
    { clientCertPem: () => current.client, servingCertPem: () => current.serving },
    { registry: options.metrics, clock },
  );
  const useServing = (pair: CertificatePair) => {
    metrics.servingRotated(current.serving);
    current.serving = pair.certPem;
  };
  const parts: Record<string, Runnable> = {
    'served files': createServedFilesPart(
      {
        ...options,
        current: () => current.serving,
        onServing: useServing,
        ...(options.renewServing && { renew: options.renewServing }),
      },
      server,
      context,
    ),
  };
  if (!client || !certDir) return parts;
  const identity = { commonName: `system:node:${nodeName}`, organizations: ['system:nodes'] };
  if (config.rotateCertificates && options.rotatingClient)
    parts['client certificate'] = createRotation(
      { kind: 'client', current: options.rotatingClient },
      {
        request: (signal) =>
          asWhoMayAsk(
            { client, certPem: current.client, bootstrapKubeconfig: options.bootstrapKubeconfig },
            { signerName: 'kubernetes.io/kube-apiserver-client-kubelet', identity },
            context,
            signal,
          ),
        // The client finds it there by itself.
        async use(pair) {
          await clientCertificateFiles(certDir).save(pair, clock.nowMs());
          current.client = pair.certPem;
        },
        onFailure: metrics.clientRenewalFailed,
        clock,
        log,
      },
    );
  if (config.serverTLSBootstrap) {
    const wanted = () => servingNames(options, addresses?.list());
    let asked = wanted();
    let request = new AbortController();
    const rotation = createRotation(
      { kind: 'serving', current: options.rotatingServing },
      {
        request(signal) {
          request = new AbortController();
          asked = wanted();
          return requestNodeCertificate(
            { signerName: 'kubernetes.io/kubelet-serving', identity: { ...identity, ...asked } },
            { client, clock, signal: AbortSignal.any([signal, request.signal]) },
          );
        },
        whyUnfit(certPem) {
          const lacking = whichNamesLack(certPem, wanted());
          return lacking.length > 0 ? `it lacks ${lacking.join(', ')}` : undefined;
        },
        async use(pair) {
          await servingCertificateFiles(certDir).save(pair, clock.nowMs());
          server.useCertificate(pair);
          useServing(pair);
        },
        onFailure: metrics.servingRenewalFailed,
        clock,
        log,
      },
    );
    addresses?.onChange(() => {
      if (isDeepStrictEqual(asked, wanted())) return;
      // One that nobody has approved yet is for names of before.
      request.abort(new Error('the addresses of the node have changed'));
      rotation.check();
    });
    parts['serving certificate'] = rotation;
  }
  return parts;
}

/** What the node's object says of its addresses, as soon as there is one. */
export function nodeAddresses({ nodeInformer }: Pick<AgentApi, 'nodeInformer'>, nodeName: string): NodeAddressSource {
  const list = () => nodeInformer.get(nodeName)?.status?.addresses;
  return {
    list,
    onChange(listener) {
      let known = JSON.stringify(list());
      const look = () => {
        const now = JSON.stringify(list());
        if (now === known) return;
        known = now;
        listener();
      };
      nodeInformer.subscribe({ added: look, updated: look });
    },
  };
}

/** As itself while its certificate holds, else with the bootstrap credentials, which are read anew: somebody may just have laid them down. */
async function asWhoMayAsk(
  who: { client: KubeClient; certPem: string | undefined; bootstrapKubeconfig: string | undefined },
  request: NodeCertificateRequest,
  { clock }: ProgramContext,
  signal: AbortSignal,
): Promise<CertificatePair> {
  const { client, certPem, bootstrapKubeconfig } = who;
  const holds = certPem !== undefined && !needsRenewal(certPem, { nowMs: clock.nowMs(), fraction: 1 });
  if (holds || !bootstrapKubeconfig || !existsSync(bootstrapKubeconfig))
    return requestNodeCertificate(request, { client, clock, signal });
  const bootstrap = createKubeClient(loadKubeconfig(bootstrapKubeconfig, { userAgent: 'berth-bootstrap' }));
  try {
    return await requestNodeCertificate(request, { client: bootstrap, clock, signal });
  } finally {
    await bootstrap.close();
  }
}

/** The pairs in force that this node renews by itself. A client certificate that stands elsewhere than in its own directory is somebody else's to renew. */
export async function renewablePairs(
  { config, certDir, certFile }: { config: KubeletConfiguration; certDir: string; certFile: string | undefined },
  { clock, log }: ProgramContext,
): Promise<Pick<AgentPartOptions, 'rotatingClient' | 'rotatingServing'>> {
  const client = clientCertificateFiles(certDir);
  const isOwn = certFile !== undefined && resolve(certFile) === resolve(client.currentPath);
  if (config.rotateCertificates && certFile !== undefined && !isOwn)
    log.info({ certFile }, 'the client certificate is kept up to date by whoever wrote its file');
  const rotatingClient = config.rotateCertificates && isOwn ? await client.current() : undefined;
  const serving = config.serverTLSBootstrap ? await servingCertificateFiles(certDir).current() : undefined;
  const holds = serving && !needsRenewal(serving.certPem, { nowMs: clock.nowMs(), fraction: 1 });
  return { ...(rotatingClient && { rotatingClient }), ...(holds && { rotatingServing: serving }) };
}
