import { text } from '../text';

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const short = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' });

export const exact = (iso: string) => full.format(new Date(iso));
export const day = (iso: string) => short.format(new Date(iso));

function ago(iso: string): string {
  const s = (Date.parse(iso) - Date.now()) / 1000;
  const a = Math.abs(s);
  if (a < 45) return text.now;
  if (a < 3600) return relative.format(Math.round(s / 60), 'minute');
  if (a < 86_400) return relative.format(Math.round(s / 3600), 'hour');
  if (a < 30 * 86_400) return relative.format(Math.round(s / 86_400), 'day');
  return day(iso);
}

/** How long ago; the exact time, in the viewer's zone, when pointed at. */
export function When({ at }: { at: string | undefined }) {
  if (at === undefined) return <>{text.never}</>;
  return (
    <time dateTime={at} title={exact(at)} className="nowrap">
      {ago(at)}
    </time>
  );
}

/** A span of time in words: 0.4 s, 12 s, 3 min 5 s. */
export function span(from: string, to: string | undefined, now = Date.now()): string {
  const s = Math.max(0, ((to === undefined ? now : Date.parse(to)) - Date.parse(from)) / 1000);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
}

/** Bytes in words. */
export function bytes(n: number): string {
  if (n < 1024) return `${n} B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  let v = n / 1024;
  let i = 0;
  for (; v >= 1000 && i < units.length - 1; i++) v /= 1024;
  return `${v < 10 ? v.toFixed(1) : Math.round(v)} ${units[i] ?? ''}`;
}
