import { CONFIGURED_SUITES, STRONG_SUITES } from '../../../src/auth/tls-suites.ts';
import {
  address,
  anything,
  boolean,
  type ConfigOf,
  choice,
  deferred,
  duration,
  ignored,
  integer,
  list,
  text,
  unsupported,
} from '../../../src/config/field.ts';
import type { Refuse } from '../../../src/config/load.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

/** The HTTPS port and the health port. */
export const serverFields = {
  address: address('0.0.0.0'),
  port: integer(10250, { max: 65535, zeroIsUnset: true }),
  readOnlyPort: unsupported(integer(0, { max: 65535 })),
  tlsCertFile: text(),
  tlsPrivateKeyFile: text(),
  tlsCipherSuites: list({
    accepts: `suites with forward secrecy and authenticated encryption: ${STRONG_SUITES.join(', ')}`,
    valid: (name) => STRONG_SUITES.includes(name),
    fallback: CONFIGURED_SUITES,
  }),
  tlsCurvePreferences: unsupported(anything()),
  // TLS 1.0 and 1.1 are broken (RFC 8996): a server that speaks them is none to trust with exec.
  tlsMinVersion: choice('VersionTLS12', ['VersionTLS12', 'VersionTLS13']),
  // Upstream's is false, kubeadm's true (CIS 4.2.10).
  rotateCertificates: boolean(true),
  serverTLSBootstrap: boolean(false),
  authentication: {
    x509: { clientCAFile: text() },
    webhook: { enabled: boolean(true), cacheTTL: duration(2 * MINUTE_MS) },
    anonymous: { enabled: boolean(false) },
  },
  authorization: {
    mode: choice('Webhook', ['Webhook', 'AlwaysAllow']),
    webhook: {
      cacheAuthorizedTTL: duration(5 * MINUTE_MS),
      cacheUnauthorizedTTL: duration(30 * SECOND_MS),
    },
  },
  healthzPort: integer(10248, { max: 65535 }),
  healthzBindAddress: address('127.0.0.1'),
  enableDebuggingHandlers: boolean(true),
  enableContentionProfiling: ignored(boolean(false)),
  enableProfilingHandler: boolean(true),
  enableDebugFlagsHandler: boolean(true),
  enableSystemLogHandler: boolean(true),
  enableSystemLogQuery: unsupported(boolean(false)),
  streamingConnectionIdleTimeout: duration(4 * HOUR_MS),
  showHiddenMetricsForVersion: ignored(text()),
  tracing: deferred(anything()),
  logging: deferred(anything()),
};

export function validateServer(config: ConfigOf<typeof serverFields>, refuse: Refuse): void {
  if ((config.tlsCertFile === '') !== (config.tlsPrivateKeyFile === ''))
    refuse('tlsPrivateKeyFile', config.tlsPrivateKeyFile, 'both tlsCertFile and tlsPrivateKeyFile, or neither');
}
