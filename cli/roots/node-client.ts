import { statSync } from 'node:fs';
import { hostname } from 'node:os';
import { type ClientConfig, createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import type { ProgramContext } from './context.ts';
import { readPairFile } from './node-credentials.ts';

/** The node's name: the flag, else the host's, in lower case as upstream has it. */
export function nodeNameOf(flags: { nodeName?: string }): string {
  return (flags.nodeName ?? hostname()).trim().toLowerCase();
}

/** The kubeconfig whose own certificate another file takes the place of, since it is renewed there. */
export interface NodeIdentityFiles {
  kubeconfig?: string | undefined;
  certFile?: string | undefined;
}

/** A client with what a kubeconfig says. */
export function clientFrom(
  kubeconfig: string,
  userAgent: string,
  { log }: ProgramContext,
  metrics?: Registry,
  identity: NodeIdentityFiles = {},
): { client: KubeClient; config: ClientConfig; own: Pick<ClientConfig, 'certPem' | 'keyPem'> } {
  const own = loadKubeconfig(kubeconfig, { userAgent });
  const { certFile } = identity.kubeconfig === kubeconfig ? identity : {};
  const config = certFile === undefined ? own : { ...own, ...readPairFile(certFile), certFile, keyFile: certFile };
  if (statSync(kubeconfig).mode & 0o077)
    log.warn({ kubeconfig }, `others than its owner may read these credentials: chmod 600 ${kubeconfig}`);
  return { client: createKubeClient(config, { metrics }), config, own };
}
