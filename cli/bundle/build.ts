import { mkdirSync, readFileSync, renameSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import { reportFailure } from '../output/failure.ts';
import { pluginPrograms } from './plugin-programs.ts';

/**
 * Makes the one file that daemons run from: `.toolchain/bundle/berth.mjs`, `berth-dns.mjs` for the DNS server's process, `cni/TYPE.cjs` for network plugins, and `berth-dhcp.mjs` for their DHCP daemon. The launcher calls it when a source is newer than the file.
 * Against the sources themselves it saves the type stripper, the module graph and what third-party packages load and never use:
 * some 40 MiB of a daemon's memory (docs/performance.md).
 *
 *     node cli/bundle/build.ts
 */

const CHECKOUT = dirname(dirname(import.meta.dirname));
const SOURCES = join(CHECKOUT, 'src/');
const BUNDLE = join(CHECKOUT, '.toolchain/bundle/berth.mjs');

/** They find files of their own (prebuilt binaries, worker scripts) beside themselves; or few processes ever load them, whose text all would hold. */
const EXTERNAL = ['netlink', 'koffi', 'pino', 'pino-pretty', 'dbus-native', 'systeminformation'];

/** Docker over SSH and BuildKit sessions: dockerode loads their libraries at once, Berth never comes there. */
const LEFT_OUT = /^(ssh2|protobufjs|@grpc\/grpc-js|@grpc\/proto-loader)$/;

const leaveOut: Plugin = {
  name: 'leave-out',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: LEFT_OUT }, ({ path, importer }) =>
      // Our own gRPC client is loaded when the first plugin of the node appears.
      importer.startsWith(SOURCES) ? undefined : { path, namespace: 'left-out' },
    );
    onLoad({ filter: /.*/, namespace: 'left-out' }, ({ path }) => ({
      contents: `module.exports = new Proxy({}, {
        get: () => class { constructor() { throw new Error(${JSON.stringify(`${path} is not part of the bundle`)}); } },
      });`,
    }));
  },
};

/** Stack traces name our own files. A map of the packages would be four times the size, and every daemon holds it: one point each instead. */
const mapOnlyOurs: Plugin = {
  name: 'map-only-ours',
  setup({ onLoad }) {
    const map = Buffer.from('{"version":3,"sources":["package"],"mappings":"AAAA"}').toString('base64');
    onLoad({ filter: /\/node_modules\/.*\.[cm]?js$/ }, ({ path }) => ({
      contents: `${readFileSync(path, 'utf8')}\n//# sourceMappingURL=data:application/json;base64,${map}`,
      loader: 'js',
    }));
  },
};

const SHARED = {
  write: false,
  bundle: true,
  platform: 'node',
  target: 'node24',
  // Names stay: they are what a stack trace tells.
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: 'none',
  sourcesContent: false,
  logLevel: 'silent',
} satisfies BuildOptions;

async function buildDaemons() {
  const { outputFiles } = await build({
    ...SHARED,
    entryPoints: {
      berth: join(CHECKOUT, 'cli/bundle/main.ts'),
      'berth-dns': join(CHECKOUT, 'cli/bundle/dns.ts'),
      'berth-cni': join(CHECKOUT, 'cli/cni/main.ts'),
      'berth-dhcp': join(CHECKOUT, 'cli/cni/dhcp-main.ts'),
      'berth-proxy': join(CHECKOUT, 'cli/bundle/proxy.ts'),
      'berth-packet-mover': join(CHECKOUT, 'cni/overlay/udp/packet-mover.ts'),
    },
    outdir: dirname(BUNDLE),
    outExtension: { '.js': '.mjs' },
    format: 'esm',
    external: EXTERNAL,
    plugins: [leaveOut, mapOnlyOurs],
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    sourcemap: 'linked',
  });
  return outputFiles;
}

async function buildPlugins() {
  const { outputFiles, warnings } = await build({ ...pluginPrograms(CHECKOUT, dirname(BUNDLE)), ...SHARED });
  // Such as an `import.meta` that is empty in CommonJS.
  if (warnings.length > 0)
    throw new Error(warnings.map(({ text, location }) => `${location?.file}: ${text}`).join('\n'));
  return outputFiles;
}

async function buildBundle(): Promise<void> {
  const started = new Date();
  const outputFiles = (await Promise.all([buildDaemons(), buildPlugins()])).flat();
  mkdirSync(join(dirname(BUNDLE), 'cni'), { recursive: true });
  // Several daemons may build at once: each file appears whole, and the program, which tells that all is done, comes last.
  const order = (path: string) => (path === BUNDLE ? 2 : path.endsWith('.map') ? 0 : 1);
  for (const { path, contents } of outputFiles.sort((one, other) => order(one.path) - order(other.path))) {
    writeFileSync(`${path}.${process.pid}`, path.endsWith('.map') ? contents : inAscii(contents));
    // A source that changed while this ran is newer than the bundle.
    utimesSync(`${path}.${process.pid}`, started, started);
    renameSync(`${path}.${process.pid}`, path);
  }
}

/**
 * V8 holds a text with a single character outside of ASCII as two bytes a character: 7 MiB more in every daemon. esbuild escapes such
 * characters in strings; what is left stands in regular expressions, where the same escape means the same, and in comments.
 */
function inAscii(contents: Uint8Array): string {
  const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return Buffer.from(contents)
    .toString('utf8')
    .replaceAll(/[\u0080-\uffff]/g, escaped);
}

try {
  await buildBundle();
} catch (error) {
  process.exitCode = reportFailure(error);
}
