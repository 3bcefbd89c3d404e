import { Button, Group, SegmentedControl, Stack, Text, Textarea, TextInput } from '@mantine/core';
import { useState } from 'react';
import { useNavigate } from 'react-router';

import { api, ask, newKey, type App } from '../api/client';
import { asProblem, useAct, useMe, useRoles } from '../api/query';
import { text } from '../text';
import { Commands } from '../ui/copy';
import { Empty } from '../ui/empty';
import { Page } from '../ui/page';
import { Panel } from '../ui/panel';
import { useParam } from '../ui/params';
import { ProblemBox } from '../ui/problem';
import { Upload } from './upload';

/** Makes an app, then shows how code comes to it. */
export function NewApp() {
  const [made, setMade] = useState<App | null>(null);
  const roles = useRoles();
  const me = useMe();
  if (me.isSuccess && !roles.create) return <Empty title={text.new.noSeat}>{text.new.noSeatWhy}</Empty>;
  return (
    <Page title={made === null ? text.apps.new : text.new.made(made.name)} window={text.apps.new}>
      {made === null ? <Name made={setMade} /> : <Code app={made} />}
    </Page>
  );
}

function Name({ made }: { made: (app: App) => void }) {
  const [form, setForm] = useState({ name: '', title: '', description: '' });
  const create = useAct<typeof form, App>({
    act: (f) =>
      ask(api.POST('/v1/apps', { params: { header: newKey() }, body: { name: f.name, ...(f.title && { title: f.title }), ...(f.description && { description: f.description }) } })),
    inForm: true,
    then: made,
  });
  const wrong = create.error === null ? {} : asProblem(create.error).fields;
  const set = (part: Partial<typeof form>) => setForm({ ...form, ...part });
  return (
    <Panel title={text.new.what} note={text.new.whatNote}>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          create.mutate(form);
        }}
      >
        <Stack maw={560}>
          <TextInput
            label={text.new.name}
            description={text.new.nameRule}
            value={form.name}
            onChange={(e) => set({ name: e.currentTarget.value.toLowerCase().replace(/[ _]/g, '-') })}
            error={wrong.name}
            maxLength={30}
            required
            autoComplete="off"
            autoCapitalize="none"
            spellCheck={false}
            data-autofocus
          />
          <TextInput label={text.new.title} value={form.title} onChange={(e) => set({ title: e.currentTarget.value })} error={wrong.title} maxLength={200} />
          <Textarea
            label={text.new.description}
            value={form.description}
            onChange={(e) => set({ description: e.currentTarget.value })}
            error={wrong.description}
            maxLength={4000}
            autosize
            minRows={2}
          />
          <ProblemBox error={create.error} skip={['name', 'title', 'description']} />
          <Group>
            <Button type="submit" loading={create.isPending}>
              {text.new.create}
            </Button>
          </Group>
        </Stack>
      </form>
    </Panel>
  );
}

/** How code comes to an app: the ways, and the exact commands. */
export function Code({ app }: { app: App }) {
  const [how, setHow] = useParam('how', 'git');
  const go = useNavigate();
  return (
    <Panel
      title={text.new.how}
      note={text.new.howNote}
      actions={
        <Button variant="default" onClick={() => void go(`/apps/${app.name}`)}>
          {text.new.toApp}
        </Button>
      }
    >
      <SegmentedControl
        w="fit-content"
        maw="100%"
        aria-label={text.new.how}
        value={how}
        onChange={setHow}
        data={[
          { value: 'git', label: text.new.git },
          { value: 'upload', label: text.new.upload },
          { value: 'cli', label: text.new.cli },
        ]}
      />
      {how === 'git' && (
        <Stack gap="md">
          <Text size="sm">{text.new.gitExisting}</Text>
          <Commands>{`git remote add slipway ${app.git_remote}\ngit push slipway main`}</Commands>
          <Text size="sm">{text.new.gitFresh}</Text>
          <Commands>{`git init -b main\ngit add .\ngit commit -m "First version"\ngit remote add slipway ${app.git_remote}\ngit push slipway main`}</Commands>
          <Text size="sm" c="dimmed">
            {text.new.gitPassword}
          </Text>
        </Stack>
      )}
      {how === 'upload' && <Upload name={app.name} />}
      {how === 'cli' && (
        <Stack gap="md">
          <Text size="sm">{text.new.cliWhy}</Text>
          <Commands>{`slipway login ${window.location.origin}\nslipway deploy . --name ${app.name}`}</Commands>
        </Stack>
      )}
    </Panel>
  );
}
