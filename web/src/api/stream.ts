import { useEffect, useEffectEvent, useState } from 'react';

import { connection, Problem, problemOf } from './client';

interface Event {
  id: string;
  name: string;
  data: string;
}

/** Splits a stream of server-sent events. */
async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<Event> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const event: Event = { id: '', name: '', data: '' };
      for (const line of block.split('\n')) {
        const at = line.indexOf(':');
        const content = line.slice(at + 1).replace(/^ /, '');
        if (line.startsWith('id:')) event.id = content;
        else if (line.startsWith('event:')) event.name = content;
        else if (line.startsWith('data:')) event.data += content;
      }
      if (event.name !== '' || event.data !== '') yield event;
    }
  }
}

const pause = (ms: number, signal: AbortSignal) =>
  new Promise<void>((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      done();
    });
  });

const stopped = (signal: AbortSignal) => signal.aborted; // it changes while we wait

/**
 * Follows a stream until its end. A connection that breaks, also because the
 * platform starts again, is made again and goes on after the last event.
 */
async function follow(path: string, signal: AbortSignal, each: (data: unknown, name: string) => void, state: (s: Stream) => void) {
  let last = '';
  for (let wait = 250; !signal.aborted; wait = Math.min(wait * 2, 5000)) {
    try {
      const response = await fetch(path, { signal, headers: { Accept: 'text/event-stream', ...(last && { 'Last-Event-ID': last }) } });
      if (!response.ok || response.body === null) throw problemOf(await response.json().catch(() => null), response);
      connection.set('here');
      state({ live: true });
      for await (const event of events(response.body)) {
        wait = 250;
        if (event.id !== '') last = event.id;
        if (event.name === 'end') {
          state({ live: false, ended: true });
          return;
        }
        const data: unknown = JSON.parse(event.data);
        if (event.name === 'error') throw problemOf(data, response);
        each(data, event.name);
      }
    } catch (error) {
      if (stopped(signal)) return;
      if (error instanceof Problem && !error.passing) {
        if (error.kind === 'unauthenticated') connection.set('signed-out');
        state({ live: false, problem: error });
        return;
      }
    }
    state({ live: false });
    await pause(wait, signal);
  }
}

export interface Stream {
  live: boolean;
  ended?: boolean;
  problem?: Problem;
}

/** Calls each for every event of the stream at path; null follows nothing. */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller knows what this stream sends
export function useStream<T>(path: string | null, each: (data: T, name: string) => void): Stream {
  const [state, setState] = useState<Stream>({ live: false });
  const onEach = useEffectEvent((data: unknown, name: string) => {
    each(data as T, name);
  });
  useEffect(() => {
    if (path === null) return;
    const stop = new AbortController();
    void follow(path, stop.signal, (data, name) => onEach(data, name), setState);
    return () => {
      stop.abort();
      setState({ live: false });
    };
  }, [path]);
  return state;
}
