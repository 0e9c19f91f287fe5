import { accessSync, constants, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { parallelImagePulls } from '../../agent/config/sections/images.ts';
import { readCredentialProviderConfig } from '../../agent/images/credential-providers/config.ts';
import type { ImageSettings } from '../../agent/images/image-parts.ts';
import { parseGoDurationMs } from '../../src/config/duration.ts';
import type { ImageFlags } from '../commands/image-flags.ts';
import { UserError } from '../output/failure.ts';

/** Configuration and flags in the agent's terms. Refuses what would only show when an image is pulled. */
export function imageSettings(config: KubeletConfiguration, flags: ImageFlags): ImageSettings {
  const plugins = credentialProviders(flags);
  return {
    maxParallelPulls: parallelImagePulls(config),
    pullsPerSecond: config.registryPullQPS,
    pullBurst: config.registryBurst,
    progressDeadlineMs: deadlineMs(flags.imagePullProgressDeadline),
    verification: {
      policy: config.imagePullCredentialsVerificationPolicy,
      allowlist: config.preloadedImagesVerificationAllowlist,
    },
    ...(plugins && { credentialProviders: plugins }),
    homeDir: homedir(),
  };
}

function deadlineMs(text: string): number {
  const ms = parseGoDurationMs(text);
  if (ms === undefined || ms <= 0)
    throw new UserError(`--image-pull-progress-deadline ${text}: must be a duration such as 1m or 90s`);
  return ms;
}

function credentialProviders({
  imageCredentialProviderConfig: file,
  imageCredentialProviderBinDir: binDir,
}: ImageFlags) {
  if (!file && !binDir) return undefined;
  if (!file || !binDir)
    throw new UserError(
      '--image-credential-provider-config and --image-credential-provider-bin-dir: give both of them, or neither',
    );
  if (!statSync(binDir, { throwIfNoEntry: false })?.isDirectory())
    throw new UserError(`--image-credential-provider-bin-dir ${binDir}: there is no such folder`);
  const config = readCredentialProviderConfig(file);
  for (const { name } of config.providers) {
    try {
      accessSync(join(binDir, name), constants.X_OK);
    } catch {
      throw new UserError(
        `${file}: provider ${JSON.stringify(name)}: there is no program ${join(binDir, name)} that may be run`,
      );
    }
  }
  return { ...config, binDir, environment: environment() };
}

/** Plugins inherit the agent's environment, as upstream's do. */
function environment(): Record<string, string> {
  return Object.fromEntries(Object.entries(process.env).filter(([, value]) => value !== undefined)) as Record<
    string,
    string
  >;
}

/** For which audiences plugins get tokens of pods' service accounts. */
export function pluginAudiences(flags: ImageFlags): string[] {
  const providers = credentialProviders(flags)?.providers ?? [];
  return providers.flatMap(({ tokenAttributes }) => tokenAttributes?.serviceAccountTokenAudience ?? []);
}
