import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { writeFileAtomically } from '../../src/auth/pem-files.ts';
import type { ClientConfig } from '../../src/kube/transport.ts';
import type { AgentPartOptions } from './agent-part-options.ts';
import { renewablePairs, servingCertificateFiles } from './certificates-part.ts';
import type { ProgramContext } from './context.ts';
import { findServingCertificate, readPem } from './serving-certificate.ts';
import { settleConfig } from './settled-config.ts';

type Trust = Pick<
  AgentPartOptions,
  'config' | 'serving' | 'clientCaPem' | 'rotatingClient' | 'rotatingServing' | 'renewServing'
>;

/**
 * Whom a node on its own trusts and by what others know it: the configuration completed with the files that its HTTPS port uses, and what is in them. The authority of clients is the one
 * of the kubeconfig, unless the configuration names another.
 */
export async function settleTrust(
  options: {
    config: KubeletConfiguration;
    certDir: string;
    nodeIps: string[];
    /** `own`: what stands in the kubeconfig itself. */
    api?: { config: ClientConfig; own: Pick<ClientConfig, 'certPem' | 'keyPem'> };
  },
  context: ProgramContext,
): Promise<Trust> {
  const { config, certDir, nodeIps, api } = options;
  const renewable = await renewablePairs({ config, certDir, certFile: api?.config.certFile }, context);
  const ca = await clientAuthority(options);
  if (renewable.rotatingServing) {
    const { currentPath } = servingCertificateFiles(certDir);
    const files = { tlsCertFile: currentPath, tlsPrivateKeyFile: currentPath, clientCAFile: ca.file };
    return {
      config: settleConfig(config, files),
      serving: renewable.rotatingServing,
      clientCaPem: ca.pem ?? renewable.rotatingServing.certPem,
      ...renewable,
    };
  }
  const find = () =>
    findServingCertificate({
      ...config,
      ...(api && { client: api.own }),
      nodeIps,
      certDir,
      nowMs: context.clock.nowMs(),
    });
  const serving = await find();
  const served = { tlsCertFile: serving.certFile, tlsPrivateKeyFile: serving.keyFile, clientCAFile: ca.file };
  return {
    config: settleConfig(config, served),
    serving,
    clientCaPem: ca.pem ?? serving.certPem,
    // A configured one is its owner's to renew, one by CSR the API server's.
    ...(!config.tlsCertFile && !config.serverTLSBootstrap && { renewServing: async () => void (await find()) }),
    ...renewable,
  };
}

async function clientAuthority({
  config,
  certDir,
  api,
}: Parameters<typeof settleTrust>[0]): Promise<{ pem: string | undefined; file: string }> {
  const { clientCAFile } = config.authentication.x509;
  if (clientCAFile) return { pem: readPem('authentication.x509.clientCAFile', clientCAFile), file: clientCAFile };
  const pem = api?.config.caPem;
  if (!pem) return { pem: undefined, file: '' };
  const file = join(certDir, 'client-ca.crt');
  mkdirSync(certDir, { recursive: true, mode: 0o700 });
  await writeFileAtomically(file, pem, 0o644);
  return { pem, file };
}
