import { Alert, Anchor, Button, Group, Loader, Stack, Text, Title } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { IconAlertTriangle, IconCircleCheck, IconCircleX } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useReducer, useRef, useState } from 'react';
import { Link, useNavigate, useParams } from 'react-router';

import { api, ask, type Deploy, type DeployEvent, type DeployStep } from '../api/client';
import { queries, useAct } from '../api/query';
import { useStream } from '../api/stream';
import { text } from '../text';
import { ConfirmButton } from '../ui/confirm';
import { Answer, Panel } from '../ui/panel';
import { ProblemBox } from '../ui/problem';
import { State } from '../ui/state';
import { span, When } from '../ui/when';
import { useThis } from './app';
import css from './apps.module.css';
import { isFinal } from './deploys';

interface Progress {
  last: number;
  steps: { step: DeployStep; lines: string[] }[];
}

/** Puts an event where it belongs; one that came already, after a new connection, changes nothing. */
function add(old: Progress, e: DeployEvent): Progress {
  if (e.seq !== 0 && e.seq <= old.last) return old;
  const steps = [...old.steps];
  const { step } = e;
  if (step !== undefined) {
    const i = steps.findLastIndex((s) => s.step.name === step.name && s.step.state === 'running');
    const known = steps[i];
    if (known === undefined) steps.push({ step, lines: [] });
    else steps[i] = { ...known, step: { ...step, started: known.step.started } };
  }
  if (e.line !== undefined) {
    const now = steps.at(-1);
    if (now === undefined) steps.push({ step: { name: 'queued', state: 'done', started: e.at, ended: e.at }, lines: [e.line] });
    else steps[steps.length - 1] = { ...now, lines: [...now.lines.slice(-5000), e.line] };
  }
  return { last: Math.max(old.last, e.seq), steps };
}

/** The time now, every half second, while it matters. */
function useNow(on: boolean): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!on) return;
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [on]);
  return now;
}

function Step({ step, lines, reason, now }: { step: DeployStep; lines: string[]; reason: string | undefined; now: number }) {
  const end = useRef<HTMLPreElement>(null);
  const running = step.state === 'running';
  const failed = step.state === 'failed';
  useEffect(() => {
    const log = end.current;
    if (running && log !== null) log.scrollTop = log.scrollHeight;
  }, [lines, running]);
  const name = (text.steps as Record<string, string>)[step.name] ?? step.name;
  return (
    <li className={css.step}>
      <details open={running || failed || undefined} key={step.state}>
        <summary>
          {running ? <Loader size={18} /> : failed ? <IconCircleX size={20} className={css.bad} /> : <IconCircleCheck size={20} className={css.good} />}
          <div>
            <Text fw={600} component="span">
              {name}
            </Text>{' '}
            <span className={css.detail}>{step.detail}</span>
            <span className="hidden">{(text.states as Record<string, string>)[step.state] ?? step.state}</span>
          </div>
          <span className={css.took}>{span(step.started, step.ended, now)}</span>
        </summary>
        {failed && reason !== undefined && (
          <Alert color="red" radius={0} icon={<IconAlertTriangle aria-hidden />} role="alert">
            <Text size="sm" c="var(--mantine-color-text)" className="pre">
              {reason}
            </Text>
          </Alert>
        )}
        {lines.length > 0 && (
          <pre ref={end} className={`${css.log} ${css.build}`} tabIndex={0} aria-label={text.deploys.output(name)}>
            {lines.join('\n')}
          </pre>
        )}
        {lines.length === 0 && !failed && (
          <Text size="sm" c="dimmed" px="md" pb="sm">
            {running ? text.deploys.quietYet : text.deploys.quiet}
          </Text>
        )}
      </details>
    </li>
  );
}

function Actions({ d }: { d: Deploy }) {
  const go = useNavigate();
  const path = { params: { path: { id: d.id } } };
  const again = useAct<undefined, Deploy>({
    act: () => ask(api.POST('/v1/deploys/{id}/redeploy', path)),
    done: text.deploys.begun,
    then: (next) => go(`/apps/${next.app}/deploys/${next.id}`),
  });
  if (!isFinal(d)) {
    return (
      <ConfirmButton
        label={text.deploys.cancel}
        title={text.deploys.cancel}
        what={text.deploys.cancelWhat}
        act={() => ask(api.POST('/v1/deploys/{id}/cancel', path))}
        done={text.deploys.canceling}
      />
    );
  }
  return (
    <Button variant="default" onClick={() => again.mutate(undefined)} loading={again.isPending}>
      {text.deploys.again}
    </Button>
  );
}

/** One deploy: its steps as they go, with what they print. */
export function DeployPage() {
  const app = useThis();
  const { id = '' } = useParams();
  return <Follow key={id} id={id} current={app.current_release} />;
}

function Follow({ id, current }: { id: string; current: number | undefined }) {
  const deploy = useQuery({
    queryKey: ['app', useThis().name, 'deploy', id],
    queryFn: ({ signal }) => ask(api.GET('/v1/deploys/{id}', { signal, params: { path: { id } } })),
    refetchInterval: (q) => (q.state.data !== undefined && isFinal(q.state.data) ? false : 5000),
  });
  const [progress, see] = useReducer(add, { last: 0, steps: [] });
  const watched = useRef(false); // it was under way on this page: its end is news
  useEffect(() => {
    if (deploy.data !== undefined && !isFinal(deploy.data)) watched.current = true;
  }, [deploy.data]);
  const stream = useStream<DeployEvent>(`/v1/deploys/${encodeURIComponent(id)}/events`, (e) => {
    see(e);
    if (e.deploy === undefined || !isFinal(e.deploy)) return;
    if (watched.current || Date.now() - Date.parse(e.at) < 5000) { // some end before the page is there
      const ok = e.deploy.state === 'live';
      notifications.show({ color: ok ? 'teal' : 'red', message: ok ? text.deploys.isLive(e.deploy.app, e.deploy.release ?? 0) : (e.deploy.reason ?? text.deploys.ended) });
    }
    void queries.invalidateQueries();
  });
  const now = useNow(deploy.data !== undefined && !isFinal(deploy.data));
  return (
    <Answer of={deploy}>
      {(d) => (
        <Stack>
          <Group justify="space-between">
            <div>
              <Group gap="sm">
                <Title order={2} size="h4">
                  {text.deploys.nth(d.seq)}
                </Title>
                <State of={d.state} />
              </Group>
              <Text size="sm" c="dimmed">
                {d.message?.split('\n')[0] ?? text.causes[d.cause] ?? d.cause} · {text.portal.by(d.by)} · <When at={d.started} /> · {span(d.started, d.ended, now)}
              </Text>
            </div>
            <Group gap="xs">
              {d.release !== undefined && d.release > 1 && (
                <Button component={Link} to={`/apps/${d.app}/compare?to=${d.release}`} variant="default">
                  {text.deploys.compare}
                </Button>
              )}
              <Actions d={d} />
            </Group>
          </Group>
          {d.reason !== undefined && d.reason !== '' && (
            <Alert color="red" role="alert" title={text.deploys.failedWhy} icon={<IconAlertTriangle aria-hidden />}>
              <Text size="sm" c="var(--mantine-color-text)" className="pre">
                {d.reason}
              </Text>
              {current !== undefined && (
                <Text size="sm" c="var(--mantine-color-text)" mt={6}>
                  {text.deploys.oldServes(current)}
                </Text>
              )}
            </Alert>
          )}
          <ProblemBox error={stream.problem} />
          {progress.steps.length === 0 && !stream.ended && (
            <Panel>
              <Group gap="sm">
                <Loader size={18} />
                <Text>{text.deploys.waiting}</Text>
              </Group>
            </Panel>
          )}
          <ol className={css.steps} aria-label={text.deploys.steps}>
            {progress.steps.map(({ step, lines }, i) => (
              <Step key={i} step={step} lines={lines} reason={d.reason} now={now} />
            ))}
          </ol>
          <Anchor component={Link} to={`/apps/${d.app}/deploys`} size="sm">
            {text.deploys.all}
          </Anchor>
        </Stack>
      )}
    </Answer>
  );
}
