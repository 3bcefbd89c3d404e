import createClient from 'openapi-fetch';

import { text } from '../text';
import type { components, paths } from './gen';

type Schemas = components['schemas'];
export type App = Schemas['App'];
export type AuditEntry = Schemas['AuditEntry'];
export type Card = Schemas['Card'];
export type Change = Schemas['Change'];
export type Comparison = Schemas['Comparison'];
export type Limit = Schemas['Limit'];
export type MetricsPoint = Schemas['MetricsPoint'];
export type DeployMark = Schemas['DeployMark'];
export type Deploy = Schemas['Deploy'];
export type DeployEvent = Schemas['DeployEvent'];
export type DeployStep = Schemas['DeployStep'];
export type EnvVar = Schemas['EnvVar'];
export type File = Schemas['File'];
export type Grant = Schemas['Grant'];
export type LogLine = Schemas['LogLine'];
export type NewToken = Schemas['NewToken'];
export type Process = Schemas['Process'];
export type Release = Schemas['Release'];
export type Replica = Schemas['Replica'];
export type Session = Schemas['Session'];
export type SSHHost = Schemas['SSHHost'];
export type Token = Schemas['Token'];
export type Upstream = Schemas['Upstream'];
export type User = Schemas['User'];
type ProblemBody = Schemas['Problem'];

/** Sends again, a moment later, what a broken connection may have lost and what does no harm twice. */
async function send(request: Request): Promise<Response> {
  const harmless = request.method !== 'POST' || request.headers.has('Idempotency-Key');
  for (const wait of harmless ? [250, 1000] : []) {
    try {
      return await fetch(request.clone());
    } catch (error) {
      if (request.signal.aborted) throw error;
      await new Promise((done) => setTimeout(done, wait));
    }
  }
  return fetch(request);
}

export const api = createClient<paths>({ baseUrl: window.location.origin, fetch: send });

/** What went wrong, as the API says it. `kind` is the API's, or `unreachable`. */
export class Problem extends Error {
  readonly kind: string;
  readonly id: string | undefined;
  readonly fields: Record<string, string>;

  constructor(kind: string, message: string, id?: string, fields: { name: string; message: string }[] = []) {
    super(message);
    this.name = 'Problem';
    this.kind = kind;
    this.id = id;
    this.fields = Object.fromEntries(fields.map((f) => [f.name, sentence(f.message)]));
  }

  /** Whether the same request may go well a moment later. */
  get passing(): boolean {
    return this.kind === 'unreachable' || this.kind === 'unavailable';
  }
}

export function sentence(s: string): string {
  const t = s.charAt(0).toUpperCase() + s.slice(1);
  return t === '' || /[.!?:]$/.test(t) ? t : `${t}.`;
}

/** Turns an answer that is no success into a Problem, whoever wrote it. */
export function problemOf(body: unknown, response: Response): Problem {
  const p = (typeof body === 'object' && body !== null ? body : {}) as Partial<ProblemBody>;
  const id = p.request_id ?? response.headers.get('X-Request-Id') ?? undefined;
  if (p.kind === undefined || p.detail === undefined) {
    const away = response.status >= 502 && response.status <= 504;
    return new Problem(away ? 'unavailable' : 'internal', away ? text.problem.away : text.problem.status(response.status), id);
  }
  return new Problem(p.kind, sentence(p.detail), id, p.fields ?? []);
}

export type Link = 'here' | 'away' | 'signed-out';
let link: Link = 'here';
const watchers = new Set<() => void>();

/** Whether the platform answers, for useSyncExternalStore. */
export const connection = {
  get: () => link,
  subscribe: (fn: () => void) => {
    watchers.add(fn);
    return () => watchers.delete(fn);
  },
  set: (next: Link) => {
    if (link === next || link === 'signed-out') return;
    link = next;
    watchers.forEach((fn) => {
      fn();
    });
  },
};

/** Gives what a call answers, or throws a Problem. */
export async function ask<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const answer = await call.catch((cause: unknown) => {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause;
    connection.set('away');
    throw new Problem('unreachable', text.problem.unreachable);
  });
  if (answer.response.ok) {
    connection.set('here');
    return answer.data as T;
  }
  const p = problemOf(answer.error, answer.response);
  if (p.kind === 'unauthenticated') connection.set('signed-out');
  connection.set(p.passing ? 'away' : 'here');
  throw p;
}

/** A key that makes repeating a create harmless. */
export const newKey = () => ({ 'Idempotency-Key': crypto.randomUUID() });
