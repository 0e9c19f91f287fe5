import { readFileSync } from 'node:fs';
import type { CertificatePair } from '../../src/auth/authority.ts';
import { certificateUser, needsRenewal, summarizeCertificate } from '../../src/auth/certificate.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';
import { clientCertificateFiles } from './certificates-part.ts';
import type { ProgramContext } from './context.ts';

/**
 * A kubeconfig may hold the node's certificate itself (`berth node kubeconfig`, kubeadm's first host). Then that pair is only the beginning, as with the kubelet: it goes into the node's
 * own directory, where it is renewed, and the file there is used in its place, also after a restart. A newer kubeconfig begins anew.
 *
 * @returns the file to use; undefined for every other kubeconfig
 */
export async function adoptNodeCertificate(
  { kubeconfig, certDir, nodeName }: { kubeconfig: string; certDir: string; nodeName: string },
  { clock }: Pick<ProgramContext, 'clock'>,
): Promise<string | undefined> {
  const { certPem, keyPem, certFile } = loadKubeconfig(kubeconfig);
  if (!certPem || !keyPem || certFile !== undefined) return undefined;
  if (certificateUser(certPem)?.username !== `system:node:${nodeName}`) return undefined;
  const files = clientCertificateFiles(certDir);
  const kept = await files.current().catch(() => undefined);
  const isNewer = kept && summarizeCertificate(kept.certPem).notBeforeMs >= summarizeCertificate(certPem).notBeforeMs;
  const isGood =
    kept &&
    isNewer &&
    certificateUser(kept.certPem)?.username === `system:node:${nodeName}` &&
    !needsRenewal(kept.certPem, { nowMs: clock.nowMs(), fraction: 1 });
  if (!isGood) await files.save({ certPem, keyPem }, clock.nowMs());
  return files.currentPath;
}

/** A file that holds certificate and key, as a client's configuration wants them: each finds its own block in it. */
export function readPairFile(certFile: string): CertificatePair {
  const text = readFileSync(certFile, 'utf8');
  return { certPem: text, keyPem: text };
}
