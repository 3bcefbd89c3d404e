import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate } from 'react-router';

import { api, ask, type Deploy } from '../api/client';
import { useAct } from '../api/query';
import { text } from '../text';
import { Variables } from '../ui/env';
import { Answer, Panel } from '../ui/panel';
import { at, useThis } from './app';

/** The app's variables. */
export function Environment() {
  const app = useThis();
  const go = useNavigate();
  const env = useQuery({
    queryKey: ['app', app.name, 'env'],
    queryFn: ({ signal }) => ask(api.GET('/v1/apps/{name}/env', { signal, params: at(app.name) })),
  });
  const apply = useAct<undefined, Deploy>({
    act: () => ask(api.POST('/v1/apps/{name}/restart', { params: at(app.name) })),
    done: text.deploys.begun,
    then: (d) => go(`/apps/${app.name}/deploys/${d.id}`),
  });
  return (
    <Panel
      title={text.env.title}
      note={text.env.note}
      actions={
        app.current_release !== undefined && (
          <Button variant="default" loading={apply.isPending} onClick={() => apply.mutate(undefined)}>
            {text.env.apply}
          </Button>
        )
      }
    >
      <Answer of={env}>{({ items }) => <Variables items={items} save={(body) => ask(api.PATCH('/v1/apps/{name}/env', { params: at(app.name), body }))} />}</Answer>
    </Panel>
  );
}
