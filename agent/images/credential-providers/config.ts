import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { parseGoDurationMs } from '../../../src/config/duration.ts';
import { ConfigError } from '../../../src/config/load.ts';
import { isLocation } from '../registry-match.ts';

/** A plugin of the `CredentialProviderConfig` (kubelet.config.k8s.io/v1). */
export interface CredentialProvider {
  /** The program's name in the plugins' folder. */
  name: string;
  /** Which images it is asked about. */
  matchImages: string[];
  /** How long an answer stands that says nothing of it. */
  defaultCacheDurationMs: number;
  /** Of requests and answers. */
  apiVersion: string;
  args: string[];
  env: { name: string; value: string }[];
  tokenAttributes?: TokenAttributes;
}

/** The plugin is handed a token of the pod's service account. */
export interface TokenAttributes {
  serviceAccountTokenAudience: string;
  /** What answers are kept for: the service account, or that one token. */
  cacheType: 'ServiceAccount' | 'Token';
  /** Pods without a service account are not asked for. */
  requireServiceAccount: boolean;
  requiredServiceAccountAnnotationKeys: string[];
  optionalServiceAccountAnnotationKeys: string[];
}

export const PLUGIN_API_V1 = 'credentialprovider.kubelet.k8s.io/v1';
const PLUGIN_APIS = [
  'credentialprovider.kubelet.k8s.io/v1alpha1',
  'credentialprovider.kubelet.k8s.io/v1beta1',
  PLUGIN_API_V1,
] as const;
const CONFIG_APIS = [
  'kubelet.config.k8s.io/v1alpha1',
  'kubelet.config.k8s.io/v1beta1',
  'kubelet.config.k8s.io/v1',
] as const;
const FILE_NAMES = new Set(['.json', '.yaml', '.yml']);

const duration = z.string().transform((text, context) => {
  const ms = parseGoDurationMs(text);
  if (ms !== undefined && ms >= 0) return ms;
  context.addIssue({ code: 'custom', message: 'expected a duration such as "10m", not negative' });
  return z.NEVER;
});
const annotationKeys = z
  .array(z.string().regex(/^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[a-z0-9]([-\w.]*[a-z0-9])?$/i, 'not an annotation key'))
  .refine((keys) => new Set(keys).size === keys.length, 'a key stands twice')
  .default([]);

const provider = z.strictObject({
  name: z
    .string()
    .min(1)
    .refine((name) => !/[/ ]/.test(name) && name !== '.' && name !== '..', "a program's name, without '/' and spaces"),
  matchImages: z
    .array(z.string().refine(isLocation, 'expected a registry and perhaps a path, such as *.example.com/team'))
    .min(1, 'at least one is required'),
  defaultCacheDuration: duration,
  apiVersion: z.enum(PLUGIN_APIS),
  args: z.array(z.string()).nullish(),
  env: z.array(z.strictObject({ name: z.string().min(1), value: z.string() })).nullish(),
  tokenAttributes: z
    .strictObject({
      serviceAccountTokenAudience: z.string().min(1),
      cacheType: z.enum(['ServiceAccount', 'Token']),
      requireServiceAccount: z.boolean(),
      requiredServiceAccountAnnotationKeys: annotationKeys,
      optionalServiceAccountAnnotationKeys: annotationKeys,
    })
    .refine(
      (one) => one.requireServiceAccount || one.requiredServiceAccountAnnotationKeys.length === 0,
      'requireServiceAccount cannot be false when requiredServiceAccountAnnotationKeys is set',
    )
    .refine(
      (one) =>
        !one.requiredServiceAccountAnnotationKeys.some((key) => one.optionalServiceAccountAnnotationKeys.includes(key)),
      'annotation keys cannot be both required and optional',
    )
    .optional(),
});
const schema = z.strictObject({
  apiVersion: z.enum(CONFIG_APIS),
  kind: z.literal('CredentialProviderConfig'),
  providers: z.array(provider).min(1, 'at least one is required'),
});

export interface CredentialProviderConfig {
  providers: CredentialProvider[];
  /** `sha256:…` of the files, as upstream's metric has it. */
  hash: string;
}

/**
 * Reads `--image-credential-provider-config`: a file, or a folder whose *.json, *.yaml and *.yml files count together, by name.
 * @throws ConfigError with all problems, each with its file and field
 */
export function readCredentialProviderConfig(path: string): CredentialProviderConfig {
  const problems: string[] = [];
  const providers: CredentialProvider[] = [];
  const hash = createHash('sha256');
  const owners = new Map<string, string>();
  for (const file of configFiles(path)) {
    const content = readOrRefuse(file);
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(content.length));
    hash.update(length).update(content);
    for (const one of parseFile(file, content.toString(), problems)) {
      const owner = owners.get(one.name);
      if (owner !== undefined)
        problems.push(`${file}: provider ${JSON.stringify(one.name)} stands in ${owner} already`);
      owners.set(one.name, file);
      providers.push(one);
    }
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return { providers, hash: `sha256:${hash.digest('hex')}` };
}

function configFiles(path: string): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    const files = readdirSync(path, { withFileTypes: true })
      .filter((entry) => !entry.isDirectory() && FILE_NAMES.has(extname(entry.name)))
      .map((entry) => join(path, entry.name))
      .sort();
    if (files.length === 0) throw new ConfigError([`${path}: holds no *.json, *.yaml or *.yml file`]);
    return files;
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError([`cannot read the credential provider configuration: ${(error as Error).message}`]);
  }
}

function readOrRefuse(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new ConfigError([`cannot read the credential provider configuration: ${(error as Error).message}`]);
  }
}

function parseFile(file: string, text: string, problems: string[]): CredentialProvider[] {
  const documents = parseAllDocuments(text);
  const broken = documents.flatMap((one) => one.errors)[0];
  if (broken || documents.length !== 1) {
    problems.push(
      broken
        ? `${file}: not YAML: ${broken.message.split('\n')[0]}`
        : `${file}: holds ${documents.length} YAML documents; accepted: one CredentialProviderConfig`,
    );
    return [];
  }
  const parsed = schema.safeParse((documents[0] as { toJS(): unknown }).toJS());
  if (!parsed.success) {
    for (const { path, message } of parsed.error.issues)
      problems.push(`${file}: ${path.join('.') || 'top'}: ${message}`);
    return [];
  }
  return parsed.data.providers.map(({ defaultCacheDuration, args, env, tokenAttributes, ...one }, index) => {
    if (tokenAttributes && one.apiVersion !== PLUGIN_API_V1)
      problems.push(`${file}: providers.${index}.tokenAttributes: only with apiVersion ${PLUGIN_API_V1}`);
    return {
      ...one,
      defaultCacheDurationMs: defaultCacheDuration,
      args: args ?? [],
      env: env ?? [],
      ...(tokenAttributes && { tokenAttributes }),
    };
  });
}
