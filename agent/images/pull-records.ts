import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomically } from '../../src/auth/pem-files.ts';
import type { PullCredentials } from './credential-mapping.ts';

/** `ImagePulledRecord`: an image that a pull of ours brought here, and who may use it by which name. */
export interface PulledRecord {
  /** RFC 3339. */
  lastUpdatedTime: string;
  /** The Engine's id of the image: `sha256:…`. */
  imageRef: string;
  /** By name without tag and digest, such as `docker.io/library/nginx`. */
  credentialMapping: Record<string, PullCredentials>;
}

/**
 * KEP-2535's files, as the kubelet writes them, below `<root>/image_manager`: `pulling` names images whose pull has begun,
 * `pulled` those that came through one. A file's name is the hash of what it is about.
 */
export interface PullRecords {
  /** A file that cannot be read throws: nobody may be let in by it. */
  pulled(imageRef: string): Promise<PulledRecord | undefined>;
  writePulled(record: PulledRecord): Promise<void>;
  deletePulled(imageRef: string): Promise<void>;
  /** Unreadable files are left out. */
  listPulled(): Promise<PulledRecord[]>;
  hasIntent(image: string): Promise<boolean>;
  writeIntent(image: string): Promise<void>;
  deleteIntent(image: string): Promise<void>;
  listIntents(): Promise<string[]>;
  count(kind: 'pulling' | 'pulled'): Promise<number>;
}

const GROUP = 'kubelet.config.k8s.io';
const VERSION = 'v1beta1';
/** Kubelets before 1.35 wrote v1alpha1, with the same fields. */
const versioned = { apiVersion: z.enum([`${GROUP}/v1alpha1`, `${GROUP}/${VERSION}`]) };

const coordinates = { uid: z.string(), namespace: z.string(), name: z.string() };
const pulledSchema = z.object({
  ...versioned,
  kind: z.literal('ImagePulledRecord'),
  lastUpdatedTime: z.string(),
  imageRef: z.string(),
  credentialMapping: z
    .record(
      z.string(),
      z.object({
        nodePodsAccessible: z.boolean().optional(),
        kubernetesSecrets: z.array(z.object({ ...coordinates, credentialHash: z.string() })).optional(),
        kubernetesServiceAccounts: z.array(z.object(coordinates)).optional(),
      }),
    )
    .default({}),
});
const intentSchema = z.object({ ...versioned, kind: z.literal('ImagePullIntent'), image: z.string() });

const FILE = /^sha256-[0-9a-f]{64}$/;
const fileOf = (subject: string) => `sha256-${createHash('sha256').update(subject).digest('hex')}`;

export function createPullRecords(rootDir: string): PullRecords {
  const folders = {
    pulling: join(rootDir, 'image_manager/pulling'),
    pulled: join(rootDir, 'image_manager/pulled'),
  };

  async function read<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
    try {
      return schema.parse(JSON.parse(await readFile(path, 'utf8')));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw new Error(`image pull record ${path} cannot be read: ${(error as Error).message}`, { cause: error });
    }
  }

  async function files(kind: 'pulling' | 'pulled'): Promise<string[]> {
    try {
      return (await readdir(folders[kind])).filter((name) => FILE.test(name)).map((name) => join(folders[kind], name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  async function list<T>(kind: 'pulling' | 'pulled', schema: z.ZodType<T>): Promise<T[]> {
    const found = await Promise.allSettled((await files(kind)).map((path) => read(path, schema)));
    return found.flatMap((one) => (one.status === 'fulfilled' && one.value ? [one.value] : []));
  }

  async function write(kind: 'pulling' | 'pulled', subject: string, object: object): Promise<void> {
    await mkdir(folders[kind], { recursive: true, mode: 0o700 });
    const content = JSON.stringify({ apiVersion: `${GROUP}/${VERSION}`, ...object });
    await writeFileAtomically(join(folders[kind], fileOf(subject)), content, 0o600);
  }

  return {
    async pulled(imageRef) {
      const record = await read(join(folders.pulled, fileOf(imageRef)), pulledSchema);
      return record?.imageRef === imageRef ? record : undefined;
    },
    writePulled: (record) => write('pulled', record.imageRef, { kind: 'ImagePulledRecord', ...record }),
    deletePulled: (imageRef) => rm(join(folders.pulled, fileOf(imageRef)), { force: true }),
    listPulled: () => list('pulled', pulledSchema),
    async hasIntent(image) {
      return (await read(join(folders.pulling, fileOf(image)), intentSchema))?.image === image;
    },
    writeIntent: (image) => write('pulling', image, { kind: 'ImagePullIntent', image }),
    deleteIntent: (image) => rm(join(folders.pulling, fileOf(image)), { force: true }),
    async listIntents() {
      return (await list('pulling', intentSchema)).map(({ image }) => image);
    },
    async count(kind) {
      return (await files(kind)).length;
    },
  };
}
