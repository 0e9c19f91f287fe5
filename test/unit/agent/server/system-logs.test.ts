import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import express from 'express';
import { serveSystemLogs } from '../../../../agent/server/system-logs.ts';

const outside = mkdtempSync(join(tmpdir(), 'berth-outside-'));
writeFileSync(join(outside, 'secret'), 'SECRET');
const directory = mkdtempSync(join(tmpdir(), 'berth-logs-'));
mkdirSync(join(directory, 'apt'));
writeFileSync(join(directory, 'syslog'), 'line\n');
writeFileSync(join(directory, 'apt/history.log'), 'history\n');
writeFileSync(join(directory, '<b>&"'), 'odd\n');
writeFileSync(join(directory, 'empty'), '');
symlinkSync('syslog', join(directory, 'inside'));
symlinkSync(join(outside, 'secret'), join(directory, 'absolute'));
symlinkSync(`../${outside.split('/').at(-1)}/secret`, join(directory, 'relative'));
symlinkSync(outside, join(directory, 'directory'));
symlinkSync('loop', join(directory, 'loop'));
test.after.always(() => {
  for (const folder of [outside, directory]) rmSync(folder, { recursive: true });
});

const app = express();
serveSystemLogs(app, { directory });
let server: Server;
test.before(async () => {
  server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
test.after.always(() => void server.close());

/** A GET whose path nobody tidies up before it is sent. */
async function get(path: string): Promise<{ status: number; text: string }> {
  const { port } = server.address() as { port: number };
  const socket = connect(port, '127.0.0.1');
  socket.write(`GET ${path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n`);
  let answer = '';
  for await (const chunk of socket) answer += chunk;
  return { status: Number(answer.split(' ')[1]), text: answer.slice(answer.indexOf('\r\n\r\n') + 4) };
}

test('files and listings', async (t) => {
  t.deepEqual(await get('/logs/syslog'), { status: 200, text: 'line\n' });
  t.deepEqual(await get('/logs/apt/history.log'), { status: 200, text: 'history\n' });
  t.deepEqual(await get('/logs/inside'), { status: 200, text: 'line\n' }, 'a link that stays inside');
  t.deepEqual(await get('/logs/empty'), { status: 200, text: '' });
  const { text } = await get('/logs/');
  t.true(text.includes('<a href="apt/">apt/</a>\n') && text.includes('<a href="syslog">syslog</a>\n'));
  t.true(text.includes('<a href="%3Cb%3E%26%22">&lt;b&gt;&amp;&#34;</a>\n'));
  t.is((await get('/logs')).status, 301);
  t.is((await get('/logs/nothing')).status, 404);
  t.is((await get('/logs/syslog/below')).status, 404);
});

for (const path of ['absolute', 'relative', 'directory/secret', 'directory/', 'loop'])
  test(`KHV047: a link of /var/log that leads out is not followed: ${path}`, async (t) => {
    const { status, text } = await get(`/logs/${path}`);
    t.is(status, 403);
    t.false(text.includes('SECRET'));
  });

const up = outside.split('/').at(-1);
for (const path of [
  `/logs/../${up}/secret`,
  `/logs/..%2f${up}%2fsecret`,
  `/logs/%2e%2e/${up}/secret`,
  `/logs/apt/../../${up}/secret`,
  `/logs/%2f${outside.slice(1)}/secret`,
  `/logs//${outside}/secret`,
  '/logs/sys%00log',
  '/logs/%ff',
  `/logs/${'a'.repeat(300)}`,
  `/logs/${'../'.repeat(40)}etc/passwd`,
])
  test(`a path that tries to leave: ${path.replaceAll(String(up), 'OUTSIDE')}`, async (t) => {
    const { status, text } = await get(path);
    t.true([400, 403, 404].includes(status), `${status}`);
    t.false(text.includes('SECRET') || text.includes('root:'));
  });
