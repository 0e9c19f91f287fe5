import { mkdirSync, readdirSync, readFileSync, realpathSync, statSync, symlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { run } from '../../src/linux/exec.ts';

/** A whole program from an empty build cache, at the lowest priority on a busy machine. */
const COMPILE_TIMEOUT_MS = 3_600_000;
const OPENAPI_PACKAGE = 'pkg/generated/openapi';
const OPENAPI_FILE = 'zz_generated.openapi';
const OPENAPI_MARK = '+k8s:openapi-gen=true';
/** Trees that carry the mark for programs of their own. */
const NOT_OF_THE_API_SERVER =
  /(?:^|\/)(?:_examples|testdata|sample-apiserver|sample-controller|code-generator)(?:\/|$)/;

export interface GoTree {
  /** Of Debian's golang package, unpacked. */
  goRoot: string;
  /** The Kubernetes tree with its vendor folder. */
  source: string;
  /** Build cache and GOPATH. */
  work: string;
  /** Without a v: 1.20.2. */
  version: string;
  /** Ends the compiler and what it has started. */
  signal: AbortSignal;
}

/**
 * Compiles programs of a Kubernetes tree that is as old as its Go modules: since Go 1.17 module mode refuses such trees ("updates to go.mod
 * needed"), so it is built as Debian does, in GOPATH mode. Everything runs at the lowest priority.
 */
export function createCompiler(tree: GoTree) {
  const goPath = join(tree.work, 'gopath');
  const sourceInPath = join(goPath, 'src/k8s.io/kubernetes');
  const env = {
    HOME: tree.work,
    GOROOT: tree.goRoot,
    GOPATH: goPath,
    GOCACHE: join(tree.work, 'go-cache'),
    GO111MODULE: 'off',
    GOFLAGS: '',
    GOPROXY: 'off',
    CGO_ENABLED: '0',
  };
  mkdirSync(dirname(sourceInPath), { recursive: true });
  if (!exists(sourceInPath)) symlinkSync(tree.source, sourceInPath);

  const niced = (program: string, args: string[]) =>
    run('nice', ['-n', '19', program, ...args], {
      cwd: sourceInPath,
      env: { ...env, PWD: sourceInPath },
      timeoutMs: COMPILE_TIMEOUT_MS,
      signal: tree.signal,
    });
  const build = (out: string, target: string, flags: string[] = []) =>
    niced(join(tree.goRoot, 'bin/go'), ['build', ...flags, '-o', out, target]);

  return {
    /** The API server's schema of itself, which the tree does not carry. */
    async generateOpenApi(): Promise<void> {
      const generator = join(tree.work, 'openapi-gen');
      await build(generator, './vendor/k8s.io/kube-openapi/cmd/openapi-gen');
      await niced(generator, [
        ...['--output-file-base', OPENAPI_FILE, '--output-base', join(goPath, 'src')],
        ...['--go-header-file', 'hack/boilerplate/boilerplate.generatego.txt', '--report-filename', '/dev/null'],
        ...['--output-package', `k8s.io/kubernetes/${OPENAPI_PACKAGE}`],
        ...['--input-dirs', markedPackages(tree.source).map(importPath).join(',')],
      ]);
    },
    async compile(program: string, out: string): Promise<void> {
      await build(out, `./cmd/${program}`, ['-trimpath', '-ldflags', linkerFlags(tree.version)]);
    },
  };
}

/** Packages below the tree whose types belong into the schema, as paths relative to it. */
function markedPackages(source: string): string[] {
  const roots = ['pkg', 'cmd', ...readdirSync(join(source, 'vendor/k8s.io')).map((name) => `vendor/k8s.io/${name}`)];
  const found = new Set<string>();
  for (const root of roots) {
    // vendor/k8s.io/* are links into staging/; the import path goes through the link.
    const real = realpathSync(join(source, root));
    if (!statSync(real).isDirectory()) continue;
    for (const file of readdirSync(real, { recursive: true, encoding: 'utf8' })) {
      const folder = join(root, dirname(file));
      if (!file.endsWith('.go') || found.has(folder) || NOT_OF_THE_API_SERVER.test(folder)) continue;
      if (readFileSync(join(real, file), 'utf8').includes(OPENAPI_MARK)) found.add(folder);
    }
  }
  return [...found].sort();
}

function importPath(folder: string): string {
  return `k8s.io/kubernetes/${folder}`;
}

/** What `--version` and /version tell; no build date, so that equal sources give equal bytes. */
function linkerFlags(version: string): string {
  const [major, minor] = version.split('.');
  const values = { gitVersion: `v${version}`, gitMajor: major, gitMinor: minor, gitTreeState: 'clean' };
  const variables = Object.entries(values).flatMap(([name, value]) =>
    ['component-base/version', 'client-go/pkg/version'].map(
      (where) => `-X ${importPath('vendor')}/k8s.io/${where}.${name}=${value}`,
    ),
  );
  return ['-s', '-w', ...variables].join(' ');
}

function exists(path: string): boolean {
  return readdirSync(dirname(path)).includes(relative(dirname(path), path));
}
