/** One registry's entry of a Docker client configuration. */
export interface DockerConfigEntry {
  /** Its key as written: `https://index.docker.io/v1/`, `registry.example:5000/team`, `*.example.com`. */
  location: string;
  username: string;
  password: string;
  email: string;
  /** Tokens that the Engine understands; upstream drops them. */
  identityToken: string;
  registryToken: string;
}

/** A configuration that cannot be read; the message says where, and never shows what stands there. */
export class DockerConfigError extends Error {
  override readonly name = 'DockerConfigError';
}

/** `config.json` and secrets of type kubernetes.io/dockerconfigjson: `{"auths": {…}}`. Throws DockerConfigError. */
export function parseDockerConfigJson(text: string): DockerConfigEntry[] {
  const config = parseObject(text, 'the configuration');
  return parseEntries(config.auths ?? {});
}

/** `.dockercfg` and secrets of type kubernetes.io/dockercfg: the entries alone. Throws DockerConfigError. */
export function parseDockerCfg(text: string): DockerConfigEntry[] {
  return parseEntries(parseObject(text, 'the configuration'));
}

function parseObject(text: string, what: string): Record<string, unknown> {
  try {
    return asObject(JSON.parse(text), what);
  } catch (error) {
    // V8's message quotes the text, which holds passwords.
    throw error instanceof DockerConfigError ? error : new DockerConfigError(`${what} is not JSON`);
  }
}

function asObject(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new DockerConfigError(`${what} is not an object`);
  return value as Record<string, unknown>;
}

function parseEntries(value: unknown): DockerConfigEntry[] {
  return Object.entries(asObject(value, 'auths')).map(([location, raw]) => {
    const entry = asObject(raw, `the entry of ${location}`);
    const text = (field: string) => {
      const found = entry[field] ?? '';
      if (typeof found !== 'string') throw new DockerConfigError(`${field} of ${location} is not a string`);
      return found;
    };
    const auth = text('auth');
    const [username, password] = auth === '' ? [text('username'), text('password')] : decodeAuth(auth, location);
    return {
      location,
      username,
      password,
      email: text('email'),
      identityToken: text('identitytoken'),
      registryToken: text('registrytoken'),
    };
  });
}

/** base64 of `user:password`, padded or not; it stands above the fields of those names. */
function decodeAuth(auth: string, location: string): [username: string, password: string] {
  const isBase64 = /^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(auth);
  const decoded = isBase64 ? Buffer.from(auth, 'base64').toString() : '';
  const colon = decoded.indexOf(':');
  if (colon === -1)
    throw new DockerConfigError(
      `unable to parse auth field of ${location}, must be formatted as base64(username:password)`,
    );
  return [decoded.slice(0, colon), decoded.slice(colon + 1)];
}
