/** Names of cipher suites as Go and so Kubernetes' configurations have them, and what OpenSSL calls them. TLS 1.3's are not configured there either. */
const SUITES: Readonly<Record<string, string>> = {
  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: 'ECDHE-ECDSA-AES128-GCM-SHA256',
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: 'ECDHE-RSA-AES128-GCM-SHA256',
  TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: 'ECDHE-ECDSA-AES256-GCM-SHA384',
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: 'ECDHE-RSA-AES256-GCM-SHA384',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-ECDSA-CHACHA20-POLY1305',
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-RSA-CHACHA20-POLY1305',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305: 'ECDHE-ECDSA-CHACHA20-POLY1305',
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305: 'ECDHE-RSA-CHACHA20-POLY1305',
};
const TLS_1_3 = ['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_128_GCM_SHA256'];

/** What `tlsCipherSuites` may name: suites with forward secrecy and authenticated encryption, no others (CIS 4.2.12). */
export const STRONG_SUITES: readonly string[] = Object.keys(SUITES);

/** The same without the names that Go has kept for those who wrote them before: each suite once, as the CIS benchmark lists them. */
export const CONFIGURED_SUITES: readonly string[] = STRONG_SUITES.filter(
  (name) => !name.endsWith('_CHACHA20_POLY1305_SHA256'),
);

/** OpenSSL's cipher list for these suites; all strong ones when none are named. TLS 1.3's always stand before. */
export function opensslCiphers(suites: readonly string[]): string {
  const names = suites.length > 0 ? suites : STRONG_SUITES;
  return [...new Set([...TLS_1_3, ...names.flatMap((name) => SUITES[name] ?? [])])].join(':');
}
