import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Settings } from '../settings.ts';

/** Where the cluster's DNS server says that it answers. */
export function dnsReadyAddress(settings: Pick<Settings, 'dnsMetricsPort'>): string {
  return `http://127.0.0.1:${settings.dnsMetricsPort}/ready`;
}

/** Asks a health endpoint on this host. The certificate is not checked: nothing secret is sent, and the answer only informs a person. */
export function probeHttp(address: string, timeoutMs = 2000): Promise<{ healthy: boolean; detail: string }> {
  return new Promise((resolve) => {
    const url = new URL(address);
    const open = url.protocol === 'https:' ? httpsRequest : httpRequest;
    const call = open(url, { timeout: timeoutMs, rejectUnauthorized: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () =>
        resolve({
          healthy: response.statusCode === 200,
          detail: response.statusCode === 200 ? 'ok' : `HTTP ${response.statusCode} ${body.trim().slice(0, 200)}`,
        }),
      );
    });
    call.on('timeout', () => call.destroy(new Error(`no answer within ${timeoutMs} ms`)));
    call.on('error', (error) => resolve({ healthy: false, detail: error.message }));
    call.end();
  });
}
