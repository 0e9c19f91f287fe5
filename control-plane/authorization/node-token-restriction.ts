import type { TokenRequest } from '../../src/kube/schema/generated/types/authentication-v1.ts';
import type { KubeObject, Pod } from '../../src/kube/types.ts';
import type { ObjectReader, ResourceDefinition, SubresourceDefinition } from '../apiserver/definition.ts';
import { conflict, forbidden, notFound } from '../apiserver/status-error.ts';
import { nodeNameOf } from './node-identity.ts';
import { driverAudiences } from './node-storage.ts';

const PODS = { group: '', plural: 'pods', kind: 'Pod' };

/**
 * NodeRestriction for serviceaccounts/token: a node gets tokens only for pods that are bound to it, bound to that very
 * pod, and for audiences that the pod asks for.
 * @param grantedAudiences beside these: what RBAC grants upstream with `request-serviceaccounts-token-audience`, for image credential
 * providers
 */
export function restrictNodeTokens<T extends KubeObject>(
  definition: ResourceDefinition<T>,
  grantedAudiences: readonly string[] = [],
): ResourceDefinition<T> {
  const token: SubresourceDefinition<T> | undefined = definition.subresources.token;
  if (definition.group !== '' || definition.plural !== 'serviceaccounts' || token?.style !== 'create')
    return definition;
  const restricted: SubresourceDefinition<T> = {
    ...token,
    async create(request) {
      const { namespace, name, body, context } = request;
      const node = nodeNameOf(context.user);
      if (node !== undefined) {
        const refuse = (why: string) => forbidden(definition, name, why);
        const { spec = {} } = body as unknown as Partial<TokenRequest>;
        const { apiVersion, kind, name: podName, uid } = spec.boundObjectRef ?? {};
        if (apiVersion !== 'v1' || kind !== 'Pod' || !podName) throw refuse('node requested token not bound to a pod');
        if (!uid) throw refuse('node requested token with a pod binding without a uid');
        const pod = await context.objects.get<Pod>(PODS, namespace, podName);
        if (!pod) throw notFound(PODS, podName);
        if (pod.metadata.uid !== uid)
          throw conflict(
            { ...PODS, plural: PODS.kind },
            podName,
            `the UID in the bound object reference (${uid}) does not match the UID in record. The object might have been deleted and then recreated`,
          );
        if (pod.spec.nodeName !== node)
          throw refuse('node requested token bound to a pod scheduled on a different node');
        if (spec.audiences?.length !== 1 || !grantedAudiences.includes(spec.audiences[0]!))
          await assertAudience(pod, spec.audiences ?? [], context.objects, refuse);
      }
      return token.create(request);
    },
  };
  return { ...definition, subresources: { ...definition.subresources, token: restricted } };
}

async function assertAudience(
  pod: Pod,
  audiences: readonly string[],
  objects: ObjectReader,
  refuse: (why: string) => Error,
): Promise<void> {
  if (audiences.length > 1) throw refuse('node may only request 0 or 1 audiences');
  const [wanted = ''] = audiences;
  const asked = (pod.spec.volumes ?? []).flatMap(({ projected }) =>
    (projected?.sources ?? []).flatMap(({ serviceAccountToken }) =>
      serviceAccountToken ? [serviceAccountToken.audience ?? ''] : [],
    ),
  );
  if (!asked.includes(wanted) && !(await driverAudiences(pod, objects)).includes(wanted))
    throw refuse(`audience ${JSON.stringify(wanted)} not found in pod spec volume`);
}
