import { ExplainedError } from '../runtime/explained-error.ts';
import { ApiError } from './errors.ts';

/** What OpenSSL and Node say when the server's certificate is not one of the expected authority, or not for that name. */
const UNTRUSTED = new Set([
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
]);

/** The server is not (or no longer) one of the authority that we know. */
export function isUntrusted(error: unknown): boolean {
  const { code } = error as { code?: string };
  return code !== undefined && UNTRUSTED.has(code);
}

/**
 * Says in a person's words that server and credentials are not of one cluster, or are past their time; any other error comes back as it is.
 * @param server base URL of the API server
 */
export function explainTrust(error: unknown, server: string): unknown {
  const { code, message } = error as { code?: string; message: string };
  if (isUntrusted(error))
    return new ExplainedError(
      `${server} is not the API server of these credentials: its certificate is not signed by their certificate authority (${message}); get a kubeconfig of that cluster`,
      { cause: error },
    );
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return new ExplainedError(
      `the certificate of ${server} is for other names (${message}); reach the server by one of them, or set tls-server-name in the kubeconfig`,
      { cause: error },
    );
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID')
    return new ExplainedError(
      `the certificate of ${server} is out of its time (${message}); renew it there, or set this host's clock`,
      { cause: error },
    );
  return error;
}

/** A bare `Unauthorized` with its likely causes. */
export function explainRefusal(error: ApiError, server: string): ApiError {
  if (error.code !== 401 || error.message !== 'Unauthorized') return error;
  return new ApiError({
    ...error.status,
    message: `Unauthorized: ${server} does not know these credentials (of another cluster, revoked, or past their time)`,
  });
}
