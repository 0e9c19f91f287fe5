import { closeSync, constants, createReadStream, fstatSync, openSync, readdirSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import type { Express, Request, Response } from 'express';
import { openBeneath } from '../../src/linux/beneath.ts';
import type { SyscallError } from '../../src/linux/libc.ts';

export interface SystemLogsOptions {
  /** `/var/log` */
  directory: string;
}

/**
 * GET /logs/…: the host's log files, as the kubelet shows them, but never through a link that leads out of the directory: whoever may write there (a pod with a hostPath
 * of /var/log) could otherwise read any file of the host (KHV047). Container logs are such links; they have a path of their own.
 */
export function serveSystemLogs(app: Express, { directory }: SystemLogsOptions): void {
  app.get(['/logs', '/logs/{*rest}'], async (request, response) => {
    let target: number | undefined;
    try {
      const path = requestedPath(request);
      target = openInside(directory, path);
      const stat = fstatSync(target);
      if (stat.isDirectory()) return list(request, response, target);
      if (!stat.isFile()) return refuse(response, 403, 'neither a file nor a directory');
      await send(response, target, stat.size, path);
    } catch (error) {
      if (response.headersSent) return void response.destroy();
      const { code } = error as SyscallError;
      if (error instanceof URIError) refuse(response, 400, 'the path has a malformed escape');
      else if (code === 'ENOENT' || code === 'ENOTDIR') refuse(response, 404, '404 page not found');
      else if (code === 'EXDEV' || code === 'ELOOP') refuse(response, 403, `the path leads out of ${directory}`);
      else if (code === 'ENAMETOOLONG') refuse(response, 400, 'the path is too long');
      else throw error;
    } finally {
      if (target !== undefined) closeSync(target);
    }
  });
}

/** As the client wrote it: `%2e%2e` is `..`, and is refused by what opens it. */
function requestedPath(request: Request): string {
  const path = decodeURIComponent(request.path.slice('/logs'.length)).replace(/^\/+/, '');
  if (path.includes('\0')) throw new URIError('a zero byte');
  return path === '' ? '.' : path;
}

function openInside(directory: string, path: string): number {
  const root = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return openBeneath(root, path);
  } finally {
    closeSync(root);
  }
}

/** The page that Go's file server makes. */
function list(request: Request, response: Response, target: number): void {
  if (!request.path.endsWith('/')) {
    response.redirect(301, `${request.path.split('/').at(-1)}/`);
    return;
  }
  const entries = readdirSync(`/proc/self/fd/${target}`, { withFileTypes: true });
  const lines = entries
    .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name))
    .sort()
    .map((name) => `<a href="${encodeURIComponent(name).replaceAll('%2F', '/')}">${escapeHtml(name)}</a>\n`);
  response
    .set('content-type', 'text/html; charset=utf-8')
    .set('x-content-type-options', 'nosniff')
    .end(`<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n${lines.join('')}</pre>\n`);
}

async function send(response: Response, target: number, sizeBytes: number, path: string): Promise<void> {
  const isCompressed = /\.(gz|xz|zst|bz2|journal)$/.test(path);
  response
    .set('content-type', isCompressed ? 'application/octet-stream' : 'text/plain; charset=utf-8')
    .set('x-content-type-options', 'nosniff');
  if (sizeBytes === 0) return void response.end();
  // A log that grows meanwhile ends where it was when it was asked for.
  response.set('content-length', String(sizeBytes));
  // By the descriptor: the very file that was checked, whatever its name leads to now.
  await pipeline(createReadStream(`/proc/self/fd/${target}`, { end: sizeBytes - 1 }), response);
}

function refuse(response: Response, status: number, text: string): void {
  response.status(status).set('content-type', 'text/plain; charset=utf-8').end(`${text}\n`);
}

const HTML: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&#34;', "'": '&#39;' };
const escapeHtml = (text: string) => text.replace(/[&<>"']/g, (character) => HTML[character]!);
