import { CNI_ERROR, CniError } from '../types.ts';

/** What Kubernetes' runtimes send is known to all. */
const KNOWN_TO_ALL = /^(IgnoreUnknown|K8S_.*)$/;

/**
 * CNI_ARGS that a plugin does not know are a mistake of the caller, unless it says that they are for others.
 * @throws CniError 4 that names them.
 */
export function refuseUnknownArguments(args: Readonly<Record<string, string>>, known: readonly string[]): void {
  const ignores = (args['IgnoreUnknown'] ?? '').toLowerCase();
  if (!['', '0', '1', 'false', 'true'].includes(ignores))
    throw new CniError(CNI_ERROR.invalidEnvironment, `ARGS: IgnoreUnknown=${ignores} is neither true nor false`);
  if (ignores === '1' || ignores === 'true') return;
  const unknown = Object.keys(args).filter((key) => !known.includes(key) && !KNOWN_TO_ALL.test(key));
  if (unknown.length > 0)
    throw new CniError(CNI_ERROR.invalidEnvironment, `ARGS: unknown args [${unknown.join(' ')}]`, {
      details: `known are ${known.join(', ')}; IgnoreUnknown=1 passes over the others`,
    });
}
