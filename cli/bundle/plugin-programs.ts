import { createRequire } from 'node:module';
import { join, relative } from 'node:path';
import type { BuildOptions, Plugin } from 'esbuild';

/**
 * The programs of our network plugins: `bundle/cni/TYPE.cjs`. A runtime starts one for every call, so what counts is what Node.js does
 * before the first line of ours, and how much of ours it reads: a file a type, CommonJS, and nothing loaded that the call does not need.
 */

/** Where each type's program is: a file of cni/programs, and what it exports. */
export const PLUGIN_SOURCES: Readonly<Record<string, readonly [file: string, name: string]>> = {
  bandwidth: ['bandwidth', 'bandwidthProgram'],
  bridge: ['interfaces', 'bridgeProgram'],
  dhcp: ['dhcp', 'dhcpProgram'],
  dummy: ['links', 'dummyProgram'],
  firewall: ['firewall', 'firewallProgram'],
  // It calls others of ours.
  flannel: ['all', 'ownPlugins'],
  'host-device': ['host-device', 'hostDeviceProgram'],
  'host-local': ['host-local', 'hostLocalProgram'],
  ipvlan: ['links', 'ipvlanProgram'],
  loopback: ['interfaces', 'loopbackProgram'],
  macvlan: ['links', 'macvlanProgram'],
  portmap: ['portmap', 'portmapProgram'],
  ptp: ['interfaces', 'ptpProgram'],
  sbr: ['routing', 'sbrProgram'],
  static: ['static', 'staticProgram'],
  tap: ['links', 'tapProgram'],
  tuning: ['tuning', 'tuningProgram'],
  vlan: ['links', 'vlanProgram'],
  vrf: ['routing', 'vrfProgram'],
};

const ENTRY = 'cni-plugin:';

export function pluginPrograms(checkout: string, outdir: string): BuildOptions {
  const folder = join(outdir, 'cni');
  return {
    entryPoints: Object.fromEntries(Object.keys(PLUGIN_SOURCES).map((type) => [type, ENTRY + type])),
    outdir: folder,
    outExtension: { '.js': '.cjs' },
    format: 'cjs',
    inject: [join(checkout, 'cli/cni/light/performance.ts')],
    alias: { 'node:crypto': join(checkout, 'cli/cni/light/crypto.ts') },
    external: ['netlink/dist/raw.js', 'dbus-native'],
    plugins: [entries(checkout), loadedWhenCalled, koffiWithoutItsLoader(folder)],
  };
}

function entries(checkout: string): Plugin {
  return {
    name: 'plugin-entries',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: RegExp(`^${ENTRY}`) }, ({ path }) => ({ path: path.slice(ENTRY.length), namespace: ENTRY }));
      onLoad({ filter: /.*/, namespace: ENTRY }, ({ path: type }) => {
        const [file, name] = PLUGIN_SOURCES[type]!;
        return {
          resolveDir: join(checkout, 'cni/programs'),
          contents: `
            import { servePlugin } from '../../cli/cni/serve.ts';
            import { ${name} as made } from './${file}.ts';
            const create = (deps) => {
              const program = typeof made === 'function' ? made(deps) : made;
              return program instanceof Map ? program.get(${JSON.stringify(type)}) : program;
            };
            servePlugin(${JSON.stringify(type)}, create);`,
        };
      });
    },
  };
}

/** They bring sockets and streams along; most calls start no program and ask no daemon. */
const SELDOM = /^node:(child_process|net|fs\/promises|stream\/promises|stream\/consumers|timers\/promises)$/;

/** Node's modules of which only functions are used: each function loads its module when it is called. */
const loadedWhenCalled: Plugin = {
  name: 'loaded-when-called',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: SELDOM }, ({ path }) => ({ path, namespace: 'seldom', sideEffects: false }));
    onLoad({ filter: /.*/, namespace: 'seldom' }, ({ path }) => {
      const functions = Object.entries(process.getBuiltinModule(path) as Record<string, unknown>).filter(
        ([name, value]) => typeof value === 'function' && !/^_|^[A-Z]|^default$/.test(name),
      );
      const module = `process.getBuiltinModule(${JSON.stringify(path)})`;
      return {
        contents: functions
          .map(([name]) => `export const ${name} = (...args) => ${module}.${name}(...args);`)
          .join('\n'),
      };
    });
  },
};

/** Its JavaScript looks for the binary that fits this machine: half of the time that a call takes. It is known when this is built. */
function koffiWithoutItsLoader(folder: string): Plugin {
  return {
    name: 'koffi-without-its-loader',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^koffi$/ }, ({ path }) => ({ path, namespace: 'koffi' }));
      onResolve({ filter: /\.node$/ }, ({ path }) => ({ path, external: true }));
      onLoad({ filter: /.*/, namespace: 'koffi' }, () => ({
        contents: `module.exports = require(${JSON.stringify(relative(folder, koffiBinary()))});`,
      }));
    },
  };
}

/** What Koffi chose for this process. */
function koffiBinary(): string {
  const require = createRequire(import.meta.url);
  require('koffi');
  const binary = Object.keys(require.cache).find((path) => /[/\\]koffi\.node$/.test(path));
  if (!binary) throw new Error('koffi loaded no koffi.node: its layout has changed');
  return binary;
}
