import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { imageSettings, pluginAudiences } from '../../../cli/roots/image-settings.ts';
import { ConfigError, loadConfig } from '../../../src/config/load.ts';

const PLUGIN = {
  name: 'login',
  matchImages: ['*.example'],
  defaultCacheDuration: '5m',
  apiVersion: 'credentialprovider.kubelet.k8s.io/v1',
  tokenAttributes: { serviceAccountTokenAudience: 'registry', cacheType: 'Token', requireServiceAccount: true },
};

function folderOf(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'berth-image-settings-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, 'bin'));
  const config = { apiVersion: 'kubelet.config.k8s.io/v1', kind: 'CredentialProviderConfig', providers: [PLUGIN] };
  writeFileSync(join(folder, 'config.yaml'), JSON.stringify(config));
  return folder;
}

function configOf(t: ExecutionContext, fields: object) {
  const file = join(folderOf(t), 'kubelet.yaml');
  writeFileSync(
    file,
    JSON.stringify({ apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration', ...fields }),
  );
  return loadConfig(kubeletConfiguration, { file });
}

const DEADLINE = { imagePullProgressDeadline: '1m' };

test('upstream’s defaults', (t) => {
  const { homeDir, ...settings } = imageSettings(configOf(t, {}), DEADLINE);
  t.is(typeof homeDir, 'string');
  t.deepEqual(settings, {
    maxParallelPulls: 1,
    pullsPerSecond: 5,
    pullBurst: 10,
    progressDeadlineMs: 60_000,
    verification: { policy: 'NeverVerifyPreloadedImages', allowlist: [] },
  });
});

test('what the file says takes effect', (t) => {
  const config = configOf(t, {
    registryPullQPS: 0,
    registryBurst: 3,
    serializeImagePulls: false,
    imagePullCredentialsVerificationPolicy: 'NeverVerifyAllowlistedImages',
    preloadedImagesVerificationAllowlist: ['registry.example/base/*'],
  });
  t.like(imageSettings(config, { imagePullProgressDeadline: '90s' }), {
    maxParallelPulls: Number.POSITIVE_INFINITY,
    pullsPerSecond: 0,
    pullBurst: 3,
    progressDeadlineMs: 90_000,
    verification: { policy: 'NeverVerifyAllowlistedImages', allowlist: ['registry.example/base/*'] },
  });
  t.is(imageSettings(configOf(t, { maxParallelImagePulls: 4 }), DEADLINE).maxParallelPulls, 4);
});

for (const [fields, message] of [
  [{ registryPullQPS: -1 }, /registryPullQPS.*accepted: an integer from 0/],
  [
    { maxParallelImagePulls: 2, serializeImagePulls: true },
    /maxParallelImagePulls.* is 2; accepted: 1, unless serializeImagePulls is false/,
  ],
  [{ maxParallelImagePulls: 0 }, /maxParallelImagePulls.*accepted: an integer from 1/],
  [{ imagePullCredentialsVerificationPolicy: 'Sometimes' }, /imagePullCredentialsVerificationPolicy.*"AlwaysVerify"/],
  [
    {
      imagePullCredentialsVerificationPolicy: 'NeverVerifyAllowlistedImages',
      preloadedImagesVerificationAllowlist: ['nginx'],
    },
    /preloadedImagesVerificationAllowlist.*whole image names without tags/,
  ],
  [
    { preloadedImagesVerificationAllowlist: ['registry.example/*'] },
    /preloadedImagesVerificationAllowlist.*unless imagePullCredentialsVerificationPolicy is "NeverVerifyAllowlistedImages"/,
  ],
] as const)
  test(`refused: ${JSON.stringify(fields)}`, (t) => {
    t.throws(() => configOf(t, fields), { instanceOf: ConfigError, message });
  });

test('plugins: both flags, a folder, programs that may be run', (t) => {
  const folder = folderOf(t);
  const config = configOf(t, {});
  const flags = {
    ...DEADLINE,
    imageCredentialProviderConfig: join(folder, 'config.yaml'),
    imageCredentialProviderBinDir: join(folder, 'bin'),
  };
  t.throws(() => imageSettings(config, { ...flags, imageCredentialProviderBinDir: undefined as never }), {
    message: /give both of them, or neither/,
  });
  t.throws(() => imageSettings(config, { ...flags, imageCredentialProviderBinDir: join(folder, 'none') }), {
    message: /there is no such folder/,
  });
  t.throws(() => imageSettings(config, flags), {
    message: /provider "login": there is no program .*bin\/login that may be run/,
  });
  writeFileSync(join(folder, 'bin/login'), '#!/bin/sh\n');
  t.throws(() => imageSettings(config, flags), { message: /that may be run/ });
  chmodSync(join(folder, 'bin/login'), 0o755);
  t.like(imageSettings(config, flags).credentialProviders, { binDir: join(folder, 'bin') });
  t.deepEqual(pluginAudiences(flags), ['registry']);
  t.deepEqual(pluginAudiences(DEADLINE), []);
});

test('a deadline that is none', (t) => {
  for (const text of ['0s', 'soon'])
    t.throws(() => imageSettings(configOf(t, {}), { imagePullProgressDeadline: text }), {
      message: /--image-pull-progress-deadline .*: must be a duration/,
    });
});
