import { resolve } from 'node:path';
import { createCertificateFiles } from '../../agent/certificates/certificate-files.ts';
import { requestNodeCertificate } from '../../agent/certificates/certificate-request.ts';
import { createRotation } from '../../agent/certificates/rotation.ts';
import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import type { AgentServer } from '../../agent/server/server.ts';
import { registerCertificateMetrics } from '../../agent/stats/certificates.ts';
import type { CertificatePair } from '../../src/auth/authority.ts';
import { needsRenewal } from '../../src/auth/certificate.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';
import type { AgentPartOptions } from './agent-part-options.ts';
import type { ProgramContext } from './context.ts';

const CLIENT_FILES = 'kubelet-client';
const SERVING_FILES = 'kubelet-server';

export const clientCertificateFiles = (certDir: string) => createCertificateFiles(certDir, CLIENT_FILES);
export const servingCertificateFiles = (certDir: string) => createCertificateFiles(certDir, SERVING_FILES);

/**
 * The node's certificates while it lives: their ends as series, and, where the configuration asks for it (rotateCertificates, serverTLSBootstrap) and there is
 * a directory to keep them in, new ones in time.
 */
export function createCertificatesPart(
  options: AgentPartOptions,
  { server }: { server: Pick<AgentServer, 'useCertificate'> },
  { clock, log }: ProgramContext,
): Record<string, Runnable> {
  const { config, client, nodeName, nodeIps, certDir } = options;
  const current = { client: options.clientCertPem, serving: options.serving.certPem };
  const metrics = registerCertificateMetrics(
    { clientCertPem: () => current.client, servingCertPem: () => current.serving },
    { registry: options.metrics, clock },
  );
  if (!client || !certDir) return {};
  const identity = { commonName: `system:node:${nodeName}`, organizations: ['system:nodes'] };
  const parts: Record<string, Runnable> = {};
  if (config.rotateCertificates && options.rotatingClient)
    parts['client certificate'] = createRotation(
      { kind: 'client', current: options.rotatingClient },
      {
        request: (signal) =>
          requestNodeCertificate(
            { signerName: 'kubernetes.io/kube-apiserver-client-kubelet', identity },
            { client, clock, signal },
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
  if (config.serverTLSBootstrap)
    parts['serving certificate'] = createRotation(
      { kind: 'serving', current: options.rotatingServing },
      {
        request: (signal) =>
          requestNodeCertificate(
            {
              signerName: 'kubernetes.io/kubelet-serving',
              identity: { ...identity, dnsNames: [nodeName], ipAddresses: nodeIps },
            },
            { client, clock, signal },
          ),
        async use(pair: CertificatePair) {
          await servingCertificateFiles(certDir).save(pair, clock.nowMs());
          server.useCertificate(pair);
          current.serving = pair.certPem;
        },
        onFailure: metrics.servingRenewalFailed,
        clock,
        log,
      },
    );
  return parts;
}

/** The pairs in force that this node renews by itself. A client certificate that stands elsewhere than in its own directory is somebody else's to renew. */
export async function renewablePairs(
  { config, certDir, certFile }: { config: KubeletConfiguration; certDir: string; certFile: string | undefined },
  { clock, log }: ProgramContext,
): Promise<Pick<AgentPartOptions, 'rotatingClient' | 'rotatingServing'>> {
  const client = clientCertificateFiles(certDir);
  const isOwn = certFile !== undefined && resolve(certFile) === resolve(client.currentPath);
  if (config.rotateCertificates && !isOwn)
    log.warn(
      'rotateCertificates: the client certificate is part of the kubeconfig and stays what it is; --bootstrap-kubeconfig gives the node one that it renews',
    );
  const rotatingClient = config.rotateCertificates && isOwn ? await client.current() : undefined;
  const serving = config.serverTLSBootstrap ? await servingCertificateFiles(certDir).current() : undefined;
  const holds = serving && !needsRenewal(serving.certPem, { nowMs: clock.nowMs(), fraction: 1 });
  return { ...(rotatingClient && { rotatingClient }), ...(holds && { rotatingServing: serving }) };
}
