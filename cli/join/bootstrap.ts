import { existsSync } from 'node:fs';
import { requestNodeCertificate } from '../../agent/certificates/certificate-request.ts';
import { needsRenewal } from '../../src/auth/certificate.ts';
import { writeFileAtomically } from '../../src/auth/pem-files.ts';
import { createKubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig, renderKubeconfig } from '../../src/kube/kubeconfig.ts';
import { UserError } from '../output/failure.ts';
import { clientCertificateFiles } from '../roots/certificates-part.ts';
import type { ProgramContext } from '../roots/context.ts';

export interface BootstrapPaths {
  /** With a bootstrap token, or any identity that may ask for a node's certificate. */
  bootstrapKubeconfig: string;
  /** Written here, for the node itself. */
  kubeconfig: string;
  certDir: string;
  nodeName: string;
}

/**
 * TLS bootstrap, as the kubelet does it: without a certificate that still holds, the node asks for one with the bootstrap credentials, and from then on is itself. Nothing is written
 * before the certificate is there. Does nothing where the node has its credentials.
 */
export async function bootstrapNode(
  { bootstrapKubeconfig, kubeconfig, certDir, nodeName }: BootstrapPaths,
  { clock, log }: Pick<ProgramContext, 'clock' | 'log'>,
  signal: AbortSignal,
): Promise<void> {
  const files = clientCertificateFiles(certDir);
  const present = await files.current();
  if (existsSync(kubeconfig) && present && !needsRenewal(present.certPem, { nowMs: clock.nowMs(), fraction: 1 }))
    return;
  const config = loadKubeconfig(bootstrapKubeconfig, { userAgent: 'berth-bootstrap' });
  if (!config.caPem)
    throw new UserError(`${bootstrapKubeconfig} names no certificate-authority(-data): the server could be anybody`);
  const client = createKubeClient(config);
  try {
    log.info({ server: config.server, node: nodeName }, 'asking for the client certificate of the node');
    const pair = await requestNodeCertificate(
      {
        signerName: 'kubernetes.io/kube-apiserver-client-kubelet',
        identity: { commonName: `system:node:${nodeName}`, organizations: ['system:nodes'] },
      },
      { client, clock, signal },
    );
    await files.save(pair, clock.nowMs());
    await writeFileAtomically(
      kubeconfig,
      renderKubeconfig({
        server: config.server,
        caPem: config.caPem,
        certificateFile: files.currentPath,
        userName: 'default-auth',
      }),
      0o600,
    );
  } finally {
    await client.close();
  }
}
