import { Button, Card, Group, SegmentedControl, SimpleGrid, Stack, Text, Textarea, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useNavigate } from 'react-router';

import { api, ask, newKey, type App, type Deploy } from '../api/client';
import { asProblem, useAct, useMe, useRoles } from '../api/query';
import { text } from '../text';
import { Commands } from '../ui/copy';
import { Empty } from '../ui/empty';
import { Page } from '../ui/page';
import { Answer, Panel } from '../ui/panel';
import { useParam } from '../ui/params';
import { ProblemBox } from '../ui/problem';
import { Upload } from './upload';
import { FromUpstream } from './upstream';

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

/** Apps to begin with; choosing one deploys it. */
function Templates({ app }: { app: App }) {
  const go = useNavigate();
  const templates = useQuery({ queryKey: ['templates'], queryFn: ({ signal }) => ask(api.GET('/v1/templates', { signal })), staleTime: Infinity });
  const begin = useAct<string, Deploy>({
    act: (template) => ask(api.POST('/v1/apps/{name}/deploys/template', { params: { path: { name: app.name }, header: newKey() }, body: { template } })),
    done: text.deploys.begun,
    then: (d) => go(`/apps/${app.name}/deploys/${d.id}`),
  });
  return (
    <Stack>
      <Text size="sm">{text.new.templateWhy}</Text>
      <Answer of={templates}>
        {({ items }) => (
          <SimpleGrid component="ul" cols={{ base: 1, sm: 2 }} aria-label={text.new.templates} p={0} m={0}>
            {items.map((t) => (
              <Card component="li" key={t.name} style={{ listStyle: 'none' }}>
                <Stack gap="xs" h="100%" justify="space-between">
                  <div>
                    <Group gap="xs" justify="space-between">
                      <Text fw={600}>{t.title}</Text>
                      <Text size="xs" c="dimmed">
                        {t.framework}
                      </Text>
                    </Group>
                    <Text size="sm" c="dimmed">
                      {t.description}
                    </Text>
                  </div>
                  <Group>
                    <Button variant="default" loading={begin.isPending && begin.variables === t.name} disabled={begin.isPending} onClick={() => begin.mutate(t.name)}>
                      {text.new.begin(t.title)}
                    </Button>
                  </Group>
                </Stack>
              </Card>
            ))}
          </SimpleGrid>
        )}
      </Answer>
    </Stack>
  );
}

/** How code comes to an app: the ways, and the exact commands. */
export function Code({ app }: { app: App }) {
  const [how, setHow] = useParam('how', app.upstream === undefined ? 'git' : 'upstream');
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
          { value: 'upstream', label: text.upstream.from },
          { value: 'template', label: text.new.template },
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
          {app.git_ssh !== undefined && (
            <>
              <Text size="sm">{text.new.gitSSH}</Text>
              <Commands>{`git remote add slipway ${app.git_ssh}\ngit push slipway main`}</Commands>
            </>
          )}
        </Stack>
      )}
      {how === 'upstream' && <FromUpstream app={app} />}
      {how === 'template' && <Templates app={app} />}
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
