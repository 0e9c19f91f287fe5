import { join } from 'node:path';
import { z } from 'zod';
import { parseGoDurationMs } from '../../../src/config/duration.ts';
import { run } from '../../../src/linux/exec.ts';
import type { CredentialProvider } from './config.ts';

/** What a plugin is asked: `CredentialProviderRequest`. */
export interface PluginRequest {
  /** The image's name without tag and digest, as upstream asks. */
  image: string;
  serviceAccountToken?: string;
  serviceAccountAnnotations?: Record<string, string>;
}

/** `CredentialProviderResponse` */
export interface PluginResponse {
  cacheKeyType: 'Image' | 'Registry' | 'Global';
  /** undefined: the provider's default; 0: not kept. */
  cacheDurationMs: number | undefined;
  /** By the images that they are good for, in the form of matchImages. */
  auth: Record<string, { username: string; password: string }>;
}

const PLUGIN_TIMEOUT_MS = 60_000;

/** An answer that is no CredentialProviderResponse. The answer itself holds credentials and is never shown. */
export class PluginError extends Error {
  override readonly name = 'PluginError';
}

/**
 * Runs a plugin: the request on its stdin, the answer on its stdout. Throws ExecError (missing, exit code, a minute without
 * an end) or PluginError.
 * @param environment what the agent's own environment has; the provider's variables stand above it
 */
export async function askPlugin(
  provider: CredentialProvider,
  request: PluginRequest,
  { folder, environment, signal }: { folder: string; environment: Record<string, string>; signal?: AbortSignal },
): Promise<PluginResponse> {
  const own = Object.fromEntries(provider.env.map(({ name, value }) => [name, value]));
  const input = { kind: 'CredentialProviderRequest', apiVersion: provider.apiVersion, ...request };
  const { stdout } = await run(join(folder, provider.name), provider.args, {
    input: `${JSON.stringify(input)}\n`,
    env: { ...environment, ...own },
    timeoutMs: PLUGIN_TIMEOUT_MS,
    ...(signal && { signal }),
  });
  return parseResponse(provider, stdout);
}

const schema = z.strictObject({
  kind: z.literal('CredentialProviderResponse'),
  apiVersion: z.string(),
  cacheKeyType: z.enum(['Image', 'Registry', 'Global']),
  cacheDuration: z.string().nullish(),
  auth: z
    .record(z.string(), z.strictObject({ username: z.string().default(''), password: z.string().default('') }))
    .nullish(),
});

function parseResponse(provider: CredentialProvider, stdout: string): PluginResponse {
  const refuse = (why: string) => new PluginError(`credential provider ${provider.name}: ${why}`);
  let json: unknown;
  try {
    json = JSON.parse(stdout);
  } catch {
    throw refuse('its answer is not JSON');
  }
  const parsed = schema.safeParse(json);
  // Without the values: issues of zod name fields only.
  if (!parsed.success)
    throw refuse(`its answer is no CredentialProviderResponse (${parsed.error.issues[0]!.path.join('.') || 'top'})`);
  const { apiVersion, cacheKeyType, cacheDuration, auth } = parsed.data;
  if (apiVersion !== provider.apiVersion)
    throw refuse(`apiVersion of its answer is ${apiVersion}, expected ${provider.apiVersion}`);
  const cacheDurationMs = typeof cacheDuration === 'string' ? parseGoDurationMs(cacheDuration) : undefined;
  if (typeof cacheDuration === 'string' && cacheDurationMs === undefined)
    throw refuse('cacheDuration of its answer is no duration');
  return { cacheKeyType, cacheDurationMs, auth: auth ?? {} };
}
