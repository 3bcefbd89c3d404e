import { Button, Group, List, Stack, Switch, Text, TextInput } from '@mantine/core';
import { useState } from 'react';
import { useNavigate } from 'react-router';

import { api, ask } from '../api/client';
import { leave, useAct } from '../api/query';
import { text } from '../text';
import { ConfirmButton } from '../ui/confirm';
import { Panel } from '../ui/panel';
import { ProblemBox } from '../ui/problem';
import { PersonPicker } from './access';
import { at, useThis } from './app';
import { UpstreamSettings } from './upstream';

function Running() {
  const app = useThis();
  const resume = useAct<undefined>({ act: () => ask(api.POST('/v1/apps/{name}/resume', { params: at(app.name) })), done: text.app.resumed(app.name) });
  return (
    <Panel title={text.app.pauseTitle} note={app.paused ? text.app.isPaused : text.app.pauseWhat}>
      <Group>
        {app.paused ? (
          <Button loading={resume.isPending} onClick={() => resume.mutate(undefined)}>
            {text.app.resume}
          </Button>
        ) : (
          <ConfirmButton
            label={text.app.pause}
            title={text.app.pauseOf(app.name)}
            what={text.app.pauseWhat}
            danger={false}
            act={() => ask(api.POST('/v1/apps/{name}/pause', { params: at(app.name) }))}
            done={text.app.paused(app.name)}
          />
        )}
      </Group>
    </Panel>
  );
}

function Serving() {
  const app = useThis();
  const [health, setHealth] = useState(app.health_path ?? '');
  const [isolated, setIsolated] = useState(app.isolated ?? false);
  const save = useAct<undefined>({
    act: () => ask(api.PATCH('/v1/apps/{name}', { params: at(app.name), body: { health_path: health, isolated } })),
    done: text.saved,
    inForm: true,
  });
  return (
    <Panel title={text.settings.serving}>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          save.mutate(undefined);
        }}
      >
        <Stack maw={600}>
          <TextInput label={text.settings.health} description={text.settings.healthNote} placeholder="/" value={health} onChange={(e) => setHealth(e.currentTarget.value)} />
          <Switch label={text.settings.isolated} description={text.settings.isolatedNote} checked={isolated} onChange={(e) => setIsolated(e.currentTarget.checked)} />
          <ProblemBox error={save.error} />
          <Group>
            <Button type="submit" loading={save.isPending}>
              {text.save}
            </Button>
          </Group>
        </Stack>
      </form>
    </Panel>
  );
}

function Transfer() {
  const app = useThis();
  const [to, setTo] = useState('');
  return (
    <Panel title={text.settings.transfer} note={text.settings.transferNote}>
      <Group align="flex-end" maw={600}>
        <PersonPicker app={app.name} label={text.settings.newOwner} value={to} onChange={setTo} />
        <ConfirmButton
          label={text.settings.transferDo}
          title={text.settings.transferTo(app.name, to)}
          what={text.settings.transferWhat(to)}
          button={{ disabled: to.trim() === '' }}
          act={() => ask(api.POST('/v1/apps/{name}/transfer', { params: at(app.name), body: { to: to.trim() } }))}
          done={text.settings.transferred(to)}
        />
      </Group>
    </Panel>
  );
}

/** What is done seldom, and with care. */
export function Settings() {
  const app = useThis();
  const go = useNavigate();
  return (
    <Stack>
      <Serving key={app.name} />
      <UpstreamSettings />
      <Running />
      <Transfer />
      <Panel title={text.settings.delete} note={text.settings.deleteNote}>
        <Group>
          <ConfirmButton
            label={text.settings.deleteDo}
            title={text.settings.deleteOf(app.name)}
            name={app.name}
            what={
              <div>
                <Text mb="xs">{text.settings.lost}</Text>
                <List size="sm">
                  {text.settings.losses(app.url).map((l) => (
                    <List.Item key={l}>{l}</List.Item>
                  ))}
                </List>
              </div>
            }
            act={() => leave(app.name, () => ask(api.DELETE('/v1/apps/{name}', { params: { ...at(app.name), query: { confirm: app.name } } })))}
            done={text.settings.deleted(app.name)}
            then={() => go('/apps')}
          />
        </Group>
      </Panel>
    </Stack>
  );
}
