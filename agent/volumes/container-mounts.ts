import { closeSync, constants, fstatSync, openSync, statSync } from 'node:fs';
import { mkdir, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { BindMount } from '../../src/docker/engine.ts';
import type { Container, Pod } from '../../src/kube/types.ts';
import { ensureBeneath } from '../../src/linux/beneath.ts';
import {
  bindDescriptor,
  isMountPoint,
  makePrivate,
  makeReadOnlyRecursively,
  supportsRecursiveReadOnly,
  unmount,
} from '../../src/linux/mounts.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { configError } from '../containers/errors.ts';
import { buildMounts, type MountedVolume, type PlannedMount, type PodFiles, planMounts } from '../containers/mounts.ts';
import { createPathResponse } from './path-response.ts';
import type { PodDirectories } from './pod-directories.ts';

/** Refers to a file without opening it; not in Node's constants. */
const O_PATH = 0o10000000;

export interface ContainerMountsRequest {
  pod: Pod;
  container: Container;
  volumes: ReadonlyMap<string, MountedVolume>;
  /** For subPathExpr. */
  variables: ReadonlyMap<string, string>;
  files: PodFiles;
}

/**
 * The mounts of a container. Most bind a volume as it is; subPaths and recursive read-only ones are made on the host
 * first: bound from an open descriptor to `pods/<uid>/volume-subpaths/<volume>/<container>/<index>`, so that no link that
 * a container puts in the way in between counts (CVE-2017-1002101, CVE-2021-25741). They end with the pod.
 */
export interface ContainerMounts {
  /** Throws ContainerStartError. */
  prepare(request: ContainerMountsRequest): Promise<BindMount[]>;
}

export interface ContainerMountsDependencies {
  directories: Pick<PodDirectories, 'subPath'>;
  clock: Pick<Clock, 'sleep'>;
  log: Logger;
}

export function createContainerMounts({ directories, clock, log }: ContainerMountsDependencies): ContainerMounts {
  const host = { recursiveReadOnly: supportsRecursiveReadOnly() };
  const responses = createPathResponse(clock);

  return {
    async prepare({ pod, container, volumes, variables, files }) {
      const planned = planMounts(container, volumes, variables, host);
      const sources = new Map<PlannedMount, string>();
      for (const [index, mount] of planned.entries()) {
        if (mount.subPath === '' && !mount.recursiveReadOnly) continue;
        const target = directories.subPath(pod.metadata.uid, mount.name, container.name, index);
        // As upstream: the cause could tell a pod about files of the host, so it is for the log only.
        const hide = (error: unknown, message: string) => {
          const what = `${message} for volumeMount "${mount.name}" of container "${container.name}"`;
          log.warn({ pod: `${pod.metadata.namespace}/${pod.metadata.name}`, subPath: mount.subPath, err: error }, what);
          return configError(what, error);
        };
        await responses.respond(mount.volume.hostPath).catch((error) => {
          throw hide(error, 'failed to prepare subPath');
        });
        await bindOne(mount, target, hide);
        sources.set(mount, target);
      }
      return buildMounts(container, planned, sources, files);
    },
  };
}

type Hide = (error: unknown, message: string) => Error;

async function bindOne(mount: PlannedMount, target: string, hide: Hide): Promise<void> {
  const volume = openSync(mount.volume.hostPath, O_PATH);
  let fd = volume;
  try {
    if (mount.subPath !== '') {
      try {
        fd = ensureBeneath(volume, mount.subPath, fstatSync(volume).mode);
      } catch (error) {
        throw hide(error, 'failed to create subPath directory');
      }
    }
    try {
      await bind(fd, target, mount);
    } catch (error) {
      throw hide(error, 'failed to prepare subPath');
    }
  } finally {
    if (fd !== volume) closeSync(fd);
    closeSync(volume);
  }
}

async function bind(fd: number, target: string, mount: PlannedMount): Promise<void> {
  if (!isBoundTo(target, fd)) {
    if (isMountPoint(target)) {
      makePrivate(target);
      unmount(target, { lazy: true });
    }
    await makePlace(target, fstatSync(fd).isDirectory());
    bindDescriptor(fd, target, { recursive: mount.recursiveReadOnly });
    if (mount.propagation === 'rprivate') makePrivate(target);
  }
  // Again on one that an earlier life of the agent made: it may have ended in between.
  if (mount.recursiveReadOnly) makeReadOnlyRecursively(target);
}

function isBoundTo(target: string, fd: number): boolean {
  if (!isMountPoint(target)) return false;
  const [have, want] = [statSync(target), fstatSync(fd)];
  return have.dev === want.dev && have.ino === want.ino;
}

/** An empty directory or file to mount on. */
async function makePlace(target: string, isDirectory: boolean): Promise<void> {
  await mkdir(dirname(target), { recursive: true, mode: 0o750 });
  const present = await stat(target).catch(() => undefined);
  if (present?.isDirectory() === isDirectory) return;
  if (present) await (present.isDirectory() ? rmdir(target) : rm(target));
  if (isDirectory) await mkdir(target, { mode: 0o750 });
  else await writeFile(target, '', { mode: 0o640, flag: constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY });
}
