import { randomUUID } from 'node:crypto';
import type { SigningKey } from '../../src/auth/signing-key.ts';
import type { TokenRequest } from '../../src/kube/schema/generated/types/authentication-v1.ts';
import type { KubeObject, Node, Pod, ServiceAccount } from '../../src/kube/types.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import type { CreateSubresource, StrategyContext } from '../apiserver/definition.ts';
import { type FieldError, invalid } from '../apiserver/field-error.ts';
import { badRequest, conflict, invalidObject, notFound } from '../apiserver/status-error.ts';
import { buildClaims, objectClaim, type TokenBinding } from './claims.ts';

export interface TokenIssuerOptions {
  /** The `iss` of tokens. */
  readonly issuer: string;
  /** What a token for the API server itself is meant for; the first choice of a request without audiences. */
  readonly apiAudiences: readonly string[];
}

const SERVICE_ACCOUNTS = { group: '', plural: 'serviceaccounts', kind: 'ServiceAccount' };
const PODS = { group: '', plural: 'pods', kind: 'Pod' };
const NODES = { group: '', plural: 'nodes', kind: 'Node' };
const SECRETS = { group: '', plural: 'secrets', kind: 'Secret' };
const TOKEN_REQUESTS = { group: 'authentication.k8s.io', plural: 'tokenrequests', kind: 'TokenRequest' };

const DEFAULT_EXPIRATION_SECONDS = 3600;
const MIN_EXPIRATION_SECONDS = 600;
const MAX_EXPIRATION_SECONDS = 2 ** 32;
/**
 * What the projected volume of admission asks for. Clients that never read their token again would fail after it, so
 * a token for the API server that is bound to a pod lives on for a year and only says from when on it is stale.
 */
export const WARN_ONLY_EXPIRATION_SECONDS = 3607;
const EXTENDED_EXPIRATION_SECONDS = 365 * 24 * 3600;

/** POST serviceaccounts/NAME/token: a signed token, bound to an object where one is named (sheet §12). */
export function defineTokenRequest(options: TokenIssuerOptions, key: SigningKey): CreateSubresource<ServiceAccount> {
  return {
    style: 'create',
    group: TOKEN_REQUESTS.group,
    version: 'v1',
    kind: TOKEN_REQUESTS.kind,
    async create({ namespace, name, body, context }) {
      const request = body as unknown as TokenRequest;
      assertAddress(request, namespace, name);
      const account = await context.objects.get<ServiceAccount>(SERVICE_ACCOUNTS, namespace, name);
      if (!account) throw notFound(SERVICE_ACCOUNTS, name);
      const { spec, audiences, expirationSeconds } = settle(request, options);
      const binding = await findBinding(spec.boundObjectRef, account, context);
      const isExtended =
        binding.pod !== undefined &&
        expirationSeconds === WARN_ONLY_EXPIRATION_SECONDS &&
        audiences.every((audience) => options.apiAudiences.includes(audience));
      const claims = buildClaims({
        ...binding,
        issuer: options.issuer,
        serviceAccount: account,
        audiences,
        nowSeconds: Math.floor(context.nowMs / 1000),
        expirationSeconds: isExtended ? EXTENDED_EXPIRATION_SECONDS : expirationSeconds,
        ...(isExtended && { warnAfterSeconds: expirationSeconds }),
        tokenId: randomUUID(),
      });
      return {
        ...request,
        metadata: { ...request.metadata, name, namespace, creationTimestamp: timestamp(context.nowMs) },
        spec: { ...spec, audiences, expirationSeconds },
        status: {
          token: await key.sign(claims),
          // What was asked for, also of an extended token: by then clients shall have a new one.
          expirationTimestamp: timestamp(context.nowMs + expirationSeconds * 1000),
        },
      };
    },
  };
}

function assertAddress({ metadata }: TokenRequest, namespace: string, name: string): void {
  const errors: FieldError[] = [];
  if (metadata.name && metadata.name !== name)
    errors.push(invalid('metadata.name', metadata.name, 'must match the service account name if specified'));
  if (metadata.namespace && metadata.namespace !== namespace)
    errors.push(
      invalid('metadata.namespace', metadata.namespace, 'must match the service account namespace if specified'),
    );
  if (errors.length > 0) throw invalidObject(TOKEN_REQUESTS, name, errors);
}

function settle(request: TokenRequest, { apiAudiences }: TokenIssuerOptions) {
  const spec = request.spec ?? {};
  const expirationSeconds = spec.expirationSeconds ?? DEFAULT_EXPIRATION_SECONDS;
  const refuse = (why: string) =>
    invalidObject(TOKEN_REQUESTS, '', [invalid('spec.expirationSeconds', expirationSeconds, why)]);
  if (expirationSeconds < MIN_EXPIRATION_SECONDS) throw refuse('may not specify a duration less than 10 minutes');
  if (expirationSeconds > MAX_EXPIRATION_SECONDS) throw refuse('may not specify a duration larger than 2^32 seconds');
  return { spec, expirationSeconds, audiences: spec.audiences?.length ? spec.audiences : [...apiAudiences] };
}

/** Finds the object that the token shall be bound to, and for a pod also its node. Throws when it is not there, or another one. */
async function findBinding(
  ref: TokenRequest['spec']['boundObjectRef'],
  account: ServiceAccount,
  context: StrategyContext,
): Promise<TokenBinding> {
  if (!ref) return {};
  const { name = '', uid } = ref;
  const { namespace = '' } = account.metadata;
  const type = ref.apiVersion === 'v1' ? ref.kind : undefined;
  const found = async <T extends KubeObject>(resource: typeof PODS, of: string): Promise<T> => {
    const object = await context.objects.get<T>(resource, of, name);
    if (!object) throw notFound(resource, name);
    if (uid && uid !== object.metadata.uid)
      throw conflict(
        { ...resource, plural: resource.kind },
        name,
        `the UID in the bound object reference (${uid}) does not match the UID in record. The object might have been deleted and then recreated`,
      );
    return object;
  };
  switch (type) {
    case 'Pod': {
      const pod = await found<Pod>(PODS, namespace);
      if (pod.spec.serviceAccountName !== account.metadata.name)
        throw badRequest(
          `cannot bind token for serviceaccount ${JSON.stringify(account.metadata.name)} to pod running with different serviceaccount name.`,
        );
      const { nodeName } = pod.spec;
      const node = nodeName ? await context.objects.get<Node>(NODES, '', nodeName) : undefined;
      return { pod, ...(nodeName && { node: node ? objectClaim(node) : { name: nodeName } }) };
    }
    case 'Secret':
      return { secret: await found(SECRETS, namespace) };
    case 'Node':
      return { node: objectClaim(await found<Node>(NODES, '')) };
    default:
      throw badRequest(
        `cannot bind token to object of type ${ref.apiVersion ?? ''}, Kind=${ref.kind ?? ''} (Pod, Secret and Node of v1 are possible)`,
      );
  }
}
