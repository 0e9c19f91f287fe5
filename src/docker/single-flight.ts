/**
 * At most one call per key is under way. Who asks meanwhile shares the one that follows it: an answer that was already under
 * way may be older than the question. However often somebody asks, a key costs one call at a time.
 * @param call gets no signal of one asker, since others may wait for the same answer
 */
export function createSingleFlight<T>(
  call: (key: string) => Promise<T>,
): (key: string, signal?: AbortSignal) => Promise<T> {
  const flights = new Map<string, { current: Promise<T>; next: Promise<T> | undefined }>();

  function fly(key: string): Promise<T> {
    const current = call(key);
    const flight: { current: Promise<T>; next: Promise<T> | undefined } = { current, next: undefined };
    flights.set(key, flight);
    const landed = () => {
      if (flights.get(key) === flight && !flight.next) flights.delete(key);
    };
    current.then(landed, landed);
    return current;
  }

  function request(key: string): Promise<T> {
    const flight = flights.get(key);
    if (!flight) return fly(key);
    const again = () => fly(key);
    flight.next ??= flight.current.then(again, again);
    return flight.next;
  }

  return (key, signal) => {
    if (signal?.aborted) return Promise.reject(signal.reason);
    const answer = request(key);
    if (!signal) return answer;
    return new Promise((resolve, reject) => {
      const abort = () => reject(signal.reason);
      signal.addEventListener('abort', abort, { once: true });
      answer.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
    });
  };
}
