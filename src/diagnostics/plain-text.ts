import type { Response } from 'express';

/** A word or a line for a person, that no browser takes for a page. */
export function plainText(response: Response, status: number, text: string): void {
  response
    .status(status)
    .set('content-type', 'text/plain; charset=utf-8')
    .set('x-content-type-options', 'nosniff')
    .end(text);
}
