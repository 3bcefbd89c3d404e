import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface Stage {
  api: string;
  auth: string;
  apps: string;
  git: string;
  remote: string; // another git server: storms, and private-storms
  remote_root: string; // where its repositories lie
  people: Record<string, string>;
}

/** Starts the real platform with people and apps; it ends with what this returns. */
export default async function setup() {
  if (process.env.STAGE !== undefined) return undefined; // one that somebody has begun already
  const args = process.env.PICTURES ? ['stage', '--iris'] : ['stage'];
  const platform = spawn('bin/demo', args, { cwd: new URL('../..', import.meta.url).pathname, stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise<number | null>((done) => platform.once('exit', done));
  const first = new Promise<string>((done) => createInterface({ input: platform.stdout }).once('line', done));
  const line = await Promise.race([first, ended]);
  if (typeof line !== 'string') throw new Error(`the platform ended with ${line}`);
  process.env.STAGE = line;
  process.env.STAGE_PID = `${platform.pid}`;
  return async () => {
    platform.stdin.end();
    const code = await ended;
    if (code !== 0) throw new Error(`the platform ended with ${code}`);
  };
}
