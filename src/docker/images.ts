import type { DockerEngine, RegistryAuth } from './engine.ts';
import { DockerError } from './errors.ts';
import { jsonLines } from './frames.ts';
import { untilAborted } from './streams.ts';
import type { createTransport } from './transport.ts';
import { parseImage, parseImageSummary, parsePullProgress, type WireImage, type WirePullProgress } from './wire.ts';

type ImageCalls = Pick<DockerEngine, 'inspectImage' | 'listImages' | 'pullImage' | 'removeImage'>;

/** What the Engine does with images; names go into paths as they are, slashes and all. */
export function imageCalls(http: ReturnType<typeof createTransport>): ImageCalls {
  return {
    async inspectImage(name, signal) {
      const path = `/images/${name}/json`;
      return parseImage(
        await http.json<WireImage>({ operation: `inspect image ${name}`, method: 'GET', path, signal }),
      );
    },
    async listImages(signal) {
      const rows = await http.json<(WireImage & { Created: number })[]>({
        operation: 'list images',
        method: 'GET',
        path: '/images/json',
        query: { digests: true },
        signal,
      });
      return rows.map(parseImageSummary);
    },
    async pullImage(name, { auth, onProgress } = {}, signal) {
      const operation = `pull image ${name}`;
      const stream = await http.stream({
        operation,
        method: 'POST',
        path: '/images/create',
        query: { fromImage: name },
        // The head comes with the registry's first answer.
        timeoutMs: Number.POSITIVE_INFINITY,
        ...(auth && { headers: { 'X-Registry-Auth': encodeAuth(auth) } }),
        signal,
      });
      for await (const progress of untilAborted(operation, jsonLines(stream), stream, signal)) {
        const { error, errorDetail } = progress as WirePullProgress;
        if (error !== undefined) throw new DockerError(operation, 'server', error, errorDetail?.code);
        onProgress?.(parsePullProgress(progress as WirePullProgress));
      }
    },
    async removeImage(name, signal) {
      await http.json({ operation: `remove image ${name}`, method: 'DELETE', path: `/images/${name}`, signal });
    },
  };
}

/** For `X-Registry-Auth`. Without the padding the Engine takes no part of it and goes on as if there were no credentials. */
export function encodeAuth(auth: RegistryAuth): string {
  return Buffer.from(JSON.stringify(auth)).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
}
