import type { SigningKey } from '../src/auth/signing-key.ts';
import type { TokenAuthenticator } from '../src/auth/token-authenticator.ts';
import type { Pod } from '../src/kube/types.ts';
import type { Clock } from '../src/runtime/clock.ts';
import type { Registry } from '../src/runtime/metrics.ts';
import type { AuthorizationAttributes, Authorizer, UserInfo } from './apiserver/authorization.ts';
import type { ObjectReader, ResourceDefinition, SubresourceDefinition } from './apiserver/definition.ts';
import type { NodeConnection } from './apiserver/nodes/node-connection.ts';
import { nodeProxySubresource } from './apiserver/nodes/node-proxy.ts';
import { createObjectReader } from './apiserver/object-reader.ts';
import { podProxySubresource } from './apiserver/proxies/pod-proxy.ts';
import { serviceProxySubresource } from './apiserver/proxies/service-proxy.ts';
import { createAuthorizer } from './authorization/authorizer.ts';
import { createBootstrapTokenAuthenticator } from './bootstrap-tokens/token-authenticator.ts';
import { createNodeUsageReader } from './metrics-api/node-usage.ts';
import { metricsResources } from './metrics-api/resources.ts';
import type { ServiceAllocator } from './resources/allocation/service-allocator.ts';
import type { DefaultTolerationSeconds } from './resources/pods/admission.ts';
import { authenticationReviews } from './resources/reviews/authentication.ts';
import { authorizationReviews } from './resources/reviews/authorization.ts';
import { servedResources } from './resources/served.ts';
import { createIssuerDiscovery, type IssuerDiscovery } from './service-accounts/issuer-discovery.ts';
import { createServiceAccountAuthenticator } from './service-accounts/token-authenticator.ts';
import { defineTokenRequest } from './service-accounts/token-request.ts';
import type { Store } from './store/store.ts';

export interface ServedApiOptions {
  /** The `iss` of service account tokens, and the audience of those for the API server. */
  readonly issuer: string;
  /** `host:port` under which clients reach the API server. */
  readonly serverAddress: string;
  /** How long pods stay on nodes in trouble; upstream's five minutes unless said. */
  readonly tolerationSeconds?: DefaultTolerationSeconds;
  /** Audiences of tokens that nodes may have for any of their pods, beside those that pods ask for. */
  readonly nodeTokenAudiences?: readonly string[];
}

export interface ServedApiDependencies {
  readonly store: Store;
  readonly allocator: ServiceAllocator;
  readonly podSubresources?: Readonly<Record<string, SubresourceDefinition<Pod>>>;
  /** How nodes are asked; absent: no nodes/proxy and no metrics.k8s.io. */
  readonly nodes?: NodeConnection;
  readonly signingKey: SigningKey;
  readonly clock: Clock;
  readonly metrics: Registry;
}

export interface ServedApi {
  /** Kinds that are stored, then those that are only questions; in discovery order. */
  readonly definitions: readonly ResourceDefinition[];
  readonly objects: ObjectReader;
  readonly authorizer: Authorizer;
  readonly tokens: readonly TokenAuthenticator[];
  readonly issuer: IssuerDiscovery;
}

/**
 * What an API server serves and whom it lets. Reviews ask the authorizer, the authorizer asks the store, and the store's
 * reader needs the definitions: here they are joined in that order.
 */
export function createServedApi(options: ServedApiOptions, dependencies: ServedApiDependencies): ServedApi {
  const { store, allocator, podSubresources, nodes, signingKey, clock, metrics } = dependencies;
  const tokenOptions = { issuer: options.issuer, apiAudiences: [options.issuer] };
  const stored = servedResources({
    allocator,
    podSubresources: { ...podSubresources, proxy: podProxySubresource },
    serviceSubresources: { proxy: serviceProxySubresource },
    ...(nodes && { nodeSubresources: { proxy: nodeProxySubresource(nodes) } }),
    serviceAccountSubresources: { token: defineTokenRequest(tokenOptions, signingKey) },
    ...(options.tolerationSeconds && { tolerationSeconds: options.tolerationSeconds }),
    ...(options.nodeTokenAudiences && { nodeTokenAudiences: options.nodeTokenAudiences }),
    certificateRequests: {
      mayUseSigner: async (user, verb, name) =>
        (await authorizer.authorize(signerAttributes(user, verb, name))).allowed,
    },
    clock,
  });
  const objects = createObjectReader(store, stored);
  const authorizer = createAuthorizer({ objects });
  const serviceAccounts = createServiceAccountAuthenticator(tokenOptions, { key: signingKey, objects, clock, metrics });
  const reviews = [
    ...authenticationReviews({ ...tokenOptions, verify: serviceAccounts.verify }),
    ...authorizationReviews(authorizer),
  ];
  // Without nodes that can be asked there is nothing to say of them.
  const usage = nodes ? metricsResources(createNodeUsageReader({ nodes, objects, clock }), objects) : [];
  return {
    definitions: [...stored, ...reviews, ...usage],
    objects,
    authorizer,
    tokens: [serviceAccounts, createBootstrapTokenAuthenticator({ objects, clock })],
    issuer: createIssuerDiscovery(options, signingKey),
  };
}

/** The right to decide for a signer is one to the resource `signers` of that name, which no path leads to. */
function signerAttributes(user: UserInfo, verb: 'approve' | 'sign', name: string): AuthorizationAttributes {
  return {
    user,
    verb,
    resourceRequest: true,
    path: '',
    apiGroup: 'certificates.k8s.io',
    apiVersion: '*',
    resource: 'signers',
    subresource: '',
    namespace: '',
    name,
    fieldSelector: '',
    labelSelector: '',
  };
}
