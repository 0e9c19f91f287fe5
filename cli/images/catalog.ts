/** An image that Berth builds itself from Debian packages: no registry is needed for the pause container or the demo. */
export interface ImageRecipe {
  /** Name and tag in the Engine. */
  name: string;
  /** Debian packages to unpack beside the system; programs that the host has installed need none. */
  packages: string[];
  /** Packages of the unstable suite: static programs only, for their libraries would not fit the others'. */
  sidPackages?: string[];
  /** Programs to put in, with the shared libraries they need: path in the image → path in the unpacked packages or, absolute with `host:`, on this host. */
  programs: Record<string, string>;
  /** Other files from the packages: path in the image → path in the packages. */
  files: Record<string, string>;
  /** Files written here: path → text. */
  texts: Record<string, string>;
  folders: string[];
  links: Record<string, string>;
  entrypoint: string[];
  command: string[];
  exposedPorts?: string[];
}

const PASSWD =
  'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n';
const GROUP = 'root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n';
/** Static, from sid: bookworm's 1.35 drops environment names with dashes, and its `wget -T` crashes. */
const SHELL = { '/bin/busybox': 'usr/bin/busybox' };
const SHELL_PACKAGES = ['busybox-static'];
/** What a shell in the image and exec probes use most; the busybox image has every applet. */
const SHELL_LINKS = Object.fromEntries(
  ['sh', 'cat', 'ls', 'echo', 'sleep', 'wget', 'nc', 'ps', 'kill', 'hostname', 'env', 'id', 'test'].map((applet) => [
    `/bin/${applet}`,
    'busybox',
  ]),
);
const BASE_FOLDERS = ['/tmp', '/etc', '/run', '/root', '/var/log'];

const NGINX_CONF = `worker_processes 1;
error_log /dev/stderr warn;
pid /run/nginx.pid;
events { worker_connections 512; }
http {
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  access_log /dev/stdout;
  client_body_temp_path /tmp/client_body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  server {
    listen 80;
    root /usr/share/nginx/html;
  }
}
`;

const empty = { packages: [], files: {}, texts: {}, folders: [], links: {}, command: [] };

export const PAUSE_IMAGE = 'berth/pause:1';

export const recipes: ImageRecipe[] = [
  // catatonit -P: a static init that holds namespaces and reaps what is left to it.
  { ...empty, name: PAUSE_IMAGE, programs: { '/pause': 'host:catatonit' }, entrypoint: ['/pause', '-P'] },
  {
    ...empty,
    name: 'berth/busybox:1',
    sidPackages: SHELL_PACKAGES,
    programs: SHELL,
    texts: { '/etc/passwd': PASSWD, '/etc/group': GROUP },
    folders: BASE_FOLDERS,
    links: { '*': '/bin/busybox' },
    entrypoint: [],
    command: ['/bin/sh'],
  },
  {
    ...empty,
    name: 'berth/nginx:1',
    packages: ['nginx', 'nginx-common'],
    sidPackages: SHELL_PACKAGES,
    programs: { ...SHELL, '/usr/sbin/nginx': 'usr/sbin/nginx' },
    files: { '/etc/nginx/mime.types': 'etc/nginx/mime.types' },
    texts: {
      '/etc/passwd': PASSWD,
      '/etc/group': GROUP,
      '/etc/nginx/nginx.conf': NGINX_CONF,
      '/usr/share/nginx/html/index.html': '<h1>nginx, packed by Berth</h1>\n',
    },
    folders: [...BASE_FOLDERS, '/var/lib/nginx', '/var/log/nginx'],
    links: SHELL_LINKS,
    entrypoint: [],
    command: ['/usr/sbin/nginx', '-g', 'daemon off;'],
    exposedPorts: ['80/tcp'],
  },
  {
    ...empty,
    name: 'berth/redis:1',
    packages: ['redis-server', 'redis-tools'],
    sidPackages: SHELL_PACKAGES,
    // In Debian redis-server is a link to redis-check-rdb: one program that looks at its name.
    programs: {
      ...SHELL,
      '/usr/bin/redis-server': 'usr/bin/redis-check-rdb',
      '/usr/bin/redis-cli': 'usr/bin/redis-cli',
    },
    texts: { '/etc/passwd': PASSWD, '/etc/group': GROUP },
    folders: [...BASE_FOLDERS, '/data'],
    links: SHELL_LINKS,
    entrypoint: [],
    command: ['/usr/bin/redis-server', '--bind', '0.0.0.0', '--protected-mode', 'no', '--save', '', '--dir', '/data'],
    exposedPorts: ['6379/tcp'],
  },
];
