import { Button, ColorInput, Group, Select, Stack, Switch, Text, Textarea, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';

import { api, ask, newKey } from '../api/client';
import { asProblem, useAct, useMe } from '../api/query';
import { text } from '../text';
import { ConfirmButton } from '../ui/confirm';
import { Answer, Panel } from '../ui/panel';
import { Picture } from '../ui/picture';
import { ProblemBox } from '../ui/problem';
import { When } from '../ui/when';

function Look({ name, accent }: { name: string; accent: string }) {
  const [form, setForm] = useState({ name, accent });
  const save = useAct<typeof form>({ act: (body) => ask(api.PATCH('/v1/branding', { body })), done: text.saved, inForm: true });
  const wrong = save.error === null ? {} : asProblem(save.error).fields;
  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        save.mutate(form);
      }}
    >
      <Stack maw={480}>
        <TextInput label={text.branding.name} value={form.name} onChange={(e) => setForm({ ...form, name: e.currentTarget.value })} error={wrong.name} />
        <ColorInput label={text.branding.accent} description={text.branding.accentNote} value={form.accent} onChange={(accent) => setForm({ ...form, accent })} error={wrong.accent} withEyeDropper={false} />
        <ProblemBox error={save.error} skip={['name', 'accent']} />
        <Group>
          <Button type="submit" loading={save.isPending}>
            {text.save}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

function News() {
  const news = useQuery({ queryKey: ['announcements'], queryFn: ({ signal }) => ask(api.GET('/v1/announcements', { signal })) });
  const [form, setForm] = useState<{ text: string; level: 'info' | 'warning' }>({ text: '', level: 'info' });
  const tell = useAct<typeof form>({
    act: (body) => ask(api.POST('/v1/announcements', { params: { header: newKey() }, body })),
    done: text.branding.told,
    inForm: true,
    then: () => setForm({ ...form, text: '' }),
  });
  return (
    <Panel title={text.branding.news} note={text.branding.newsNote}>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          tell.mutate(form);
        }}
      >
        <Group align="flex-end">
          <Textarea label={text.branding.say} value={form.text} onChange={(e) => setForm({ ...form, text: e.currentTarget.value })} autosize minRows={1} required flex="1 1 16rem" />
          <Select label={text.branding.level} allowDeselect={false} value={form.level} onChange={(v) => setForm({ ...form, level: v === 'warning' ? 'warning' : 'info' })} data={[{ value: 'info', label: text.branding.info }, { value: 'warning', label: text.branding.warning }]} w={150} />
          <Button type="submit" loading={tell.isPending}>
            {text.branding.tell}
          </Button>
        </Group>
      </form>
      <ProblemBox error={tell.error} />
      <Answer of={news} height={60}>
        {({ items }) => (
          <Stack gap={0}>
            {items.map((a) => (
              <Group key={a.id} justify="space-between" className="row">
                <div className="grow">
                  <Text>{a.text}</Text>
                  <Text size="sm" c="dimmed">
                    {text.portal.by(a.by)} · <When at={a.created} />
                  </Text>
                </div>
                <ConfirmButton label={text.env.remove} title={text.branding.remove} what={a.text} button={{ size: 'compact-sm' }} act={() => ask(api.DELETE('/v1/announcements/{id}', { params: { path: { id: a.id } } }))} done={text.branding.removed} />
              </Group>
            ))}
          </Stack>
        )}
      </Answer>
    </Panel>
  );
}

function Defaults() {
  const defaults = useQuery({ queryKey: ['defaults'], queryFn: ({ signal }) => ask(api.GET('/v1/defaults', { signal })) });
  const save = useAct<{ access?: 'restricted' | 'authenticated'; in_portal?: boolean; allow_unauthenticated?: boolean }>({ act: (body) => ask(api.PATCH('/v1/defaults', { body })), done: text.saved });
  return (
    <Panel title={text.branding.defaults} note={text.branding.defaultsNote}>
      <Answer of={defaults}>
        {(d) => (
          <Stack maw={480}>
            <Select label={text.access.level} allowDeselect={false} value={d.access} onChange={(v) => save.mutate({ access: v === 'authenticated' ? v : 'restricted' })} data={[{ value: 'restricted', label: text.levels.restricted ?? '' }, { value: 'authenticated', label: text.levels.authenticated ?? '' }]} />
            <Switch label={text.info.show} checked={d.in_portal} onChange={(e) => save.mutate({ in_portal: e.currentTarget.checked })} />
            <Switch label={text.branding.public} checked={d.allow_unauthenticated} onChange={(e) => save.mutate({ allow_unauthenticated: e.currentTarget.checked })} />
          </Stack>
        )}
      </Answer>
    </Panel>
  );
}

/** How the platform looks, what it says, and how new apps begin. */
export function Branding() {
  const me = useMe();
  return (
    <Answer of={me}>
      {({ branding }) => (
        <Stack>
          <Panel title={text.branding.look}>
            <Look key={branding.name + (branding.accent ?? '')} name={branding.name} accent={branding.accent ?? ''} />
            <Picture path="/v1/branding/logo" version={branding.logo && `/v1/branding/logo?v=${branding.logo}`} remove={() => ask(api.DELETE('/v1/branding/logo'))} note={text.branding.logoNote} />
          </Panel>
          <News />
          <Defaults />
        </Stack>
      )}
    </Answer>
  );
}
