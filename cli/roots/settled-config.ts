import { join } from 'node:path';
import { stringify } from 'yaml';
import { renderConfigz } from '../../agent/config/configz.ts';
import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { writeFileAtomically } from '../../src/auth/pem-files.ts';
import { CONFIGURED_SUITES } from '../../src/auth/tls-suites.ts';

const HEAD = `# The configuration in force: file, drop-ins, flags, defaults, and what the program found by itself. Written at every start, for people and for scanners
# such as kube-bench; never read.
`;

/** What the program completes: the files that the HTTPS port serves with and knows its clients by. */
export interface ServedFiles {
  tlsCertFile: string;
  tlsPrivateKeyFile: string;
  /** Empty without an API server: clients of such a node have no authority. */
  clientCAFile: string;
}

/** The configuration with nothing left unsaid about who is trusted, as the kubelet completes it before it shows it. Pure. */
export function settleConfig(config: KubeletConfiguration, served: ServedFiles): KubeletConfiguration {
  const { tlsCertFile, tlsPrivateKeyFile, clientCAFile } = served;
  return Object.freeze({
    ...config,
    tlsCertFile,
    tlsPrivateKeyFile,
    tlsCipherSuites: config.tlsCipherSuites.length > 0 ? config.tlsCipherSuites : CONFIGURED_SUITES,
    authentication: { ...config.authentication, x509: { clientCAFile } },
  });
}

/** Writes it to `config.yaml` below the node's root directory. */
export function writeConfigInForce(config: KubeletConfiguration, rootDir: string): Promise<void> {
  return writeFileAtomically(join(rootDir, 'config.yaml'), HEAD + stringify(renderConfigz(config)), 0o600);
}
