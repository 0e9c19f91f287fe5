import { DockerError, dockerMessage } from '../../src/docker/errors.ts';

/** A pull that failed, in the words of events and statuses. */
export interface PullFailure {
  /** The waiting reason. */
  reason: 'ErrImagePull' | 'RegistryUnavailable';
  /** Behind `Failed to pull image "x": `. */
  eventText: string;
  /** state.waiting.message */
  message: string;
}

/** Statuses of a proxy before a registry, or of one that is overloaded. */
const UNAVAILABLE = /(?:received )?unexpected HTTP status(?: code)?:? 50[234]\b/;
const UNAVAILABLE_CODES = new Set([502, 503, 504]);
const MOST_CHARACTERS = 1000;

/** What to show of the failures of a pull: one for each credential that was tried. */
export function describePullFailure(image: string, errors: readonly unknown[]): PullFailure {
  const texts = [...new Set(errors.map(textOf))];
  const detail = texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`;
  if (errors.every(isRegistryUnavailable))
    return {
      reason: 'RegistryUnavailable',
      eventText: `RegistryUnavailable: ${detail}`,
      message: `image pull failed for ${image} because the registry is unavailable: ${detail}`,
    };
  return { reason: 'ErrImagePull', eventText: detail, message: detail };
}

function isRegistryUnavailable(error: unknown): boolean {
  if (!(error instanceof DockerError)) return false;
  return UNAVAILABLE.test(error.engineMessage) || UNAVAILABLE_CODES.has(error.statusCode ?? 0);
}

/** Whole pages of HTML, as proxies answer, don't belong into a status. */
function textOf(error: unknown): string {
  const text = dockerMessage(error)
    .replace(/<(?:!doctype|html)[\s\S]*/i, '(an HTML page)')
    .trim();
  return text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text;
}
