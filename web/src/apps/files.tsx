import { ActionIcon, Anchor, Breadcrumbs, Button, Card, FileButton, Group, Modal, Progress, Stack, Text, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { notifications } from '@mantine/notifications';
import { IconDownload, IconFile, IconFolder, IconFolderPlus, IconQuestionMark, IconUpload } from '@tabler/icons-react';
import { useInfiniteQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Link, useSearchParams } from 'react-router';

import { api, ask, Problem, type File as Entry } from '../api/client';
import { queries, useAct } from '../api/query';
import { text } from '../text';
import { ConfirmButton } from '../ui/confirm';
import { Empty } from '../ui/empty';
import { Answer, Panel } from '../ui/panel';
import { ProblemBox } from '../ui/problem';
import { DataTable, type Column } from '../ui/table';
import { bytes, When } from '../ui/when';
import { at, useThis } from './app';
import css from './apps.module.css';
import { dropped, type Part } from './tar';
import { send } from './upload';

const below = (folder: string, name: string) => (folder === '' ? name : `${folder}/${name}`);
const content = (app: string, path: string) => `/v1/apps/${encodeURIComponent(app)}/files/content?path=${encodeURIComponent(path)}`;
const here = (path: string) => (path === '' ? '.' : `?path=${encodeURIComponent(path)}`);

/** Sends files one after the other; folders among them are made first. */
function useSending(app: string, folder: string, there: ReadonlySet<string>) {
  const [sent, setSent] = useState<{ name: string; part: number } | null>(null);
  const [error, setError] = useState<unknown>(null);
  const all = async (parts: Part[]) => {
    setError(null);
    try {
      if (parts.length === 0) throw new Problem('invalid', text.files.nothing);
      const made = new Set<string>(there);
      for (const { path, file } of parts) {
        const names = path.split('/');
        for (let i = 1; i < names.length; i++) {
          const dir = names.slice(0, i).join('/');
          if (made.has(dir)) continue;
          made.add(dir);
          await ask(api.POST('/v1/apps/{name}/files/folders', { params: at(app), body: { path: below(folder, dir) } })).catch((e: unknown) => {
            if (!(e instanceof Problem && e.kind === 'conflict')) throw e; // it is there already
          });
        }
        setSent({ name: path, part: 0 });
        await send('PUT', content(app, below(folder, path)), file, 'application/octet-stream', (part) => setSent({ name: path, part }));
      }
      notifications.show({ color: 'teal', message: text.files.sent(parts.length) });
    } catch (e) {
      setError(e);
    } finally {
      setSent(null);
      await queries.invalidateQueries({ queryKey: ['app', app, 'files'] });
    }
  };
  return { sent, error, all };
}

function NewFolder({ app, folder }: { app: string; folder: string }) {
  const [opened, dialog] = useDisclosure(false);
  const [name, setName] = useState('');
  const make = useAct<string>({
    act: (n) => ask(api.POST('/v1/apps/{name}/files/folders', { params: at(app), body: { path: below(folder, n) } })),
    done: (_, n) => text.files.made(n),
    inForm: true,
    then: dialog.close,
  });
  return (
    <>
      <Button
        variant="default"
        leftSection={<IconFolderPlus size={18} />}
        onClick={() => {
          setName('');
          make.reset();
          dialog.open();
        }}
      >
        {text.files.newFolder}
      </Button>
      <Modal opened={opened} onClose={dialog.close} title={text.files.newFolder} closeButtonProps={{ 'aria-label': text.close }}>
        <form
          onSubmit={(e) => {
            e.preventDefault();
            make.mutate(name);
          }}
        >
          <Stack>
            <TextInput label={text.files.folderName} value={name} onChange={(e) => setName(e.currentTarget.value)} maxLength={255} required autoComplete="off" data-autofocus />
            <ProblemBox error={make.error} />
            <Group justify="flex-end">
              <Button variant="default" onClick={dialog.close}>
                {text.cancel}
              </Button>
              <Button type="submit" loading={make.isPending}>
                {text.files.make}
              </Button>
            </Group>
          </Stack>
        </form>
      </Modal>
    </>
  );
}

/** Where in ~/mount one is, each part of the way a link. */
function Way({ folder }: { folder: string }) {
  const names = folder === '' ? [] : folder.split('/');
  return (
    <nav aria-label={text.files.way}>
      <Breadcrumbs>
        {['~/mount', ...names].map((name, i) =>
          i === names.length ? (
            <Text key={i} fw={600} className="mono" aria-current>
              {name}
            </Text>
          ) : (
            <Anchor key={i} component={Link} to={here(names.slice(0, i).join('/'))} className="mono">
              {name}
            </Anchor>
          ),
        )}
      </Breadcrumbs>
    </nav>
  );
}

const icons = { folder: IconFolder, file: IconFile, other: IconQuestionMark };

function columns(app: string, folder: string): Column<Entry>[] {
  return [
    {
      id: 'name',
      header: text.files.name,
      cell: (f) => {
        const Icon = icons[f.kind];
        return (
          <Group gap="xs" wrap="nowrap">
            <Icon size={18} aria-hidden />
            {f.kind === 'folder' && f.odd !== true ? (
              <Anchor component={Link} to={here(below(folder, f.name))}>
                {f.name}
              </Anchor>
            ) : (
              <span>{f.name}</span>
            )}
            {(f.kind === 'other' || f.odd === true) && (
              <Text size="xs" c="dimmed">
                {f.odd === true ? text.files.odd : text.files.other}
              </Text>
            )}
          </Group>
        );
      },
    },
    { id: 'size', header: text.files.size, right: true, cell: (f) => (f.kind === 'file' ? bytes(f.size) : '–') },
    { id: 'modified', header: text.files.changed, cell: (f) => <When at={f.modified} /> },
    {
      id: 'do',
      header: text.actions,
      right: true,
      cell: (f) =>
        f.odd !== true && (
          <Group gap="xs" justify="flex-end" wrap="nowrap">
            {f.kind === 'file' && (
              <ActionIcon component="a" href={content(app, below(folder, f.name))} download variant="default" size="lg" aria-label={text.files.download(f.name)}>
                <IconDownload size={18} />
              </ActionIcon>
            )}
            <ConfirmButton
              label={text.files.delete}
              aria={text.files.deleteOf(f.name)}
              title={text.files.deleteTitle(f.name)}
              what={f.kind === 'folder' && f.link !== true ? text.files.deleteFolder(below(folder, f.name)) : text.files.deleteFile(below(folder, f.name))}
              {...(f.kind === 'folder' && f.link !== true && { name: f.name })}
              act={() => ask(api.DELETE('/v1/apps/{name}/files', { params: { ...at(app), query: { path: below(folder, f.name) } } }))}
              done={text.files.deleted(f.name)}
              button={{ size: 'xs' }}
            />
          </Group>
        ),
    },
  ];
}

/** The files that the app keeps in ~/mount. */
export function Files() {
  const app = useThis();
  const [params] = useSearchParams();
  const folder = params.get('path') ?? '';
  const [over, setOver] = useState(false);
  const files = useInfiniteQuery({
    queryKey: ['app', app.name, 'files', folder],
    queryFn: ({ signal, pageParam }) =>
      ask(api.GET('/v1/apps/{name}/files', { signal, params: { ...at(app.name), query: { path: folder, limit: 200, ...(pageParam !== '' && { cursor: pageParam }) } } })),
    initialPageParam: '',
    getNextPageParam: (last) => last.next,
  });
  const list = files.data?.pages.flatMap((p) => p.items) ?? [];
  const sending = useSending(app.name, folder, new Set(list.filter((f) => f.kind === 'folder').map((f) => f.name)));
  return (
    <Panel title={text.files.title} note={text.files.note}>
      <Group justify="space-between">
        <Way folder={folder} />
        {files.data !== undefined && (
          <Group gap="sm">
            <NewFolder app={app.name} folder={folder} />
            <FileButton multiple onChange={(picked) => void sending.all(picked.map((file) => ({ path: file.name, file })))}>
              {(props) => (
                <Button leftSection={<IconUpload size={18} />} loading={sending.sent !== null} {...props}>
                  {text.files.upload}
                </Button>
              )}
            </FileButton>
          </Group>
        )}
      </Group>
      {sending.sent !== null && (
        <div>
          <Progress value={sending.sent.part * 100} aria-label={text.upload.sending} animated />
          <Text size="sm" c="dimmed" mt={4}>
            {text.upload.sending} {sending.sent.name}, {Math.round(sending.sent.part * 100)} %
          </Text>
        </div>
      )}
      <ProblemBox error={sending.error} />
      <Answer of={files}>
        {(data) => (
          <Card
            className={css.drop}
            data-over={over || undefined}
            onDragOver={(e) => {
              e.preventDefault();
              setOver(true);
            }}
            onDragLeave={() => setOver(false)}
            onDrop={(e) => {
              e.preventDefault();
              setOver(false);
              void dropped(e.dataTransfer).then(sending.all);
            }}
          >
            <Stack>
              {list.length === 0 ? (
                <Empty title={text.files.none}>{text.files.noneWhy}</Empty>
              ) : (
                <>
                  <DataTable label={text.files.title} columns={columns(app.name, folder)} rows={list} keyOf={(f) => (f.odd === true ? `${f.name} ${f.modified} ${f.size}` : f.name)} />
                  <Text size="sm" c="dimmed" ta="center">
                    {text.files.count(list.length, data.pages[0]?.total ?? list.length)}
                  </Text>
                </>
              )}
              {files.hasNextPage && (
                <Button variant="default" onClick={() => void files.fetchNextPage()} loading={files.isFetchingNextPage} mx="auto">
                  {text.more}
                </Button>
              )}
            </Stack>
          </Card>
        )}
      </Answer>
    </Panel>
  );
}
