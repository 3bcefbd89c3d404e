import { Button, Group, NumberInput, Stack, Switch, TagsInput, Textarea, TextInput } from '@mantine/core';
import { useState } from 'react';

import { api, ask, type App } from '../api/client';
import { asProblem, useAct } from '../api/query';
import { text } from '../text';
import { Panel } from '../ui/panel';
import { Picture } from '../ui/picture';
import { ProblemBox } from '../ui/problem';
import { at, useThis } from './app';

const fields = (a: App) => ({
  title: a.title ?? '',
  description: a.description ?? '',
  contact: a.contact ?? '',
  tags: a.tags ?? [],
  rank: a.rank ?? 0,
  in_portal: a.in_portal ?? false,
});

/** What the Portal shows of the app. */
export function PortalInfo() {
  const app = useThis();
  return <Form key={app.name} app={app} />;
}

function Form({ app }: { app: App }) {
  const [form, setForm] = useState(() => fields(app));
  const save = useAct<typeof form>({
    act: (body) => ask(api.PATCH('/v1/apps/{name}', { params: at(app.name), body })),
    done: text.saved,
    inForm: true,
  });
  const wrong = save.error === null ? {} : asProblem(save.error).fields;
  const set = (part: Partial<typeof form>) => setForm({ ...form, ...part });
  return (
    <Stack>
      <Panel title={text.app.tab.portal ?? ''} note={text.info.note}>
        <form
          onSubmit={(e) => {
            e.preventDefault();
            save.mutate(form);
          }}
        >
          <Stack maw={600}>
            <Switch label={text.info.show} description={text.info.showNote} checked={form.in_portal} onChange={(e) => set({ in_portal: e.currentTarget.checked })} />
            <TextInput label={text.new.title} value={form.title} onChange={(e) => set({ title: e.currentTarget.value })} error={wrong.title} maxLength={200} />
            <Textarea label={text.new.description} value={form.description} onChange={(e) => set({ description: e.currentTarget.value })} error={wrong.description} maxLength={4000} autosize minRows={3} />
            <TagsInput label={text.portal.tags} description={text.info.tagsNote} value={form.tags} onChange={(tags) => set({ tags })} error={wrong.tags} clearable={false} />
            <TextInput label={text.info.contact} description={text.info.contactNote} value={form.contact} onChange={(e) => set({ contact: e.currentTarget.value })} error={wrong.contact} />
            <NumberInput label={text.info.rank} description={text.info.rankNote} value={form.rank} onChange={(v) => set({ rank: Number(v) })} error={wrong.rank} min={0} max={10_000} allowDecimal={false} w={200} />
            <ProblemBox error={save.error} skip={Object.keys(form)} />
            <Group>
              <Button type="submit" loading={save.isPending}>
                {text.save}
              </Button>
            </Group>
          </Stack>
        </form>
      </Panel>
      <Panel title={text.info.picture}>
        <Picture
          path={`/v1/apps/${encodeURIComponent(app.name)}/thumbnail`}
          version={app.thumbnail}
          remove={() => ask(api.DELETE('/v1/apps/{name}/thumbnail', { params: at(app.name) }))}
          note={text.info.pictureNote}
        />
      </Panel>
    </Stack>
  );
}
