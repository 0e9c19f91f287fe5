/** What kubelets are told about images by flags only. */
export interface ImageFlags {
  imageCredentialProviderConfig?: string;
  imageCredentialProviderBinDir?: string;
  /** A Go duration. */
  imagePullProgressDeadline: string;
}

export const DEFAULT_PULL_PROGRESS_DEADLINE = '1m0s';

/** The flags and their texts, for every command that starts an agent. */
export const IMAGE_FLAGS: readonly [flag: string, text: string, fallback?: string][] = [
  ['--image-credential-provider-config <path>', 'a CredentialProviderConfig, or a folder of them'],
  ['--image-credential-provider-bin-dir <dir>', 'where the plugins are that it names'],
  [
    '--image-pull-progress-deadline <duration>',
    'an image pull without progress for so long is cancelled',
    DEFAULT_PULL_PROGRESS_DEADLINE,
  ],
];
