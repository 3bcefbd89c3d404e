import { Button, Card, FileButton, Group, Progress, Stack, Text } from '@mantine/core';
import { IconFolderUp, IconUpload } from '@tabler/icons-react';
import { useState } from 'react';
import { useNavigate } from 'react-router';

import { Problem, problemOf, sentence, type Deploy } from '../api/client';
import { queries } from '../api/query';
import { text } from '../text';
import { ProblemBox } from '../ui/problem';
import css from './apps.module.css';
import { dropped, parts, tar, type Part } from './tar';

/** Sends a body as it is; fetch cannot tell how far it is. */
export function send(method: string, path: string, body: Blob, type: string, progress: (part: number) => void): Promise<unknown> {
  return new Promise((done, fail) => {
    const x = new XMLHttpRequest();
    x.open(method, path);
    x.setRequestHeader('Content-Type', type);
    x.setRequestHeader('Idempotency-Key', crypto.randomUUID());
    x.upload.onprogress = (e) => progress(e.loaded / e.total);
    x.onerror = () => fail(new Problem('unreachable', text.problem.unreachable));
    x.onload = () => {
      let answer: unknown = null;
      try {
        answer = JSON.parse(x.responseText);
      } catch {
        // not ours: the status tells
      }
      if (x.status < 300) done(answer);
      else fail(problemOf(answer, new Response(null, { status: x.status, headers: { 'X-Request-Id': x.getResponseHeader('X-Request-Id') ?? '' } })));
    };
    x.send(body);
  });
}

/** Takes a folder, files or an archive, and deploys them. */
export function Upload({ name, before }: { name: string; before?: () => Promise<unknown> }) {
  const [over, setOver] = useState(false);
  const [sent, setSent] = useState<number | null>(null);
  const [error, setError] = useState<unknown>(null);
  const go = useNavigate();
  const take = async (all: Part[]) => {
    setError(null);
    try {
      const files = parts(all);
      if (files.length === 0) throw new Problem('invalid', text.upload.nothing);
      const first = files[0]?.file;
      const archive = files.length === 1 && first !== undefined && /\.(tar|tar\.gz|tgz)$/.test(first.name);
      if (files.length === 1 && first?.name.endsWith('.zip')) throw new Problem('invalid', text.upload.zip);
      const body = archive ? first : tar(files);
      setSent(0);
      await before?.();
      const packed = /\.t?gz$/.test(body instanceof File ? body.name : '');
      const deploy = (await send('POST', `/v1/apps/${encodeURIComponent(name)}/deploys`, body, packed ? 'application/gzip' : 'application/x-tar', setSent)) as Deploy;
      await queries.invalidateQueries();
      await go(`/apps/${name}/deploys/${deploy.id}`);
    } catch (e) {
      setError(e instanceof Problem ? e : new Problem('invalid', sentence(e instanceof Error ? e.message : String(e))));
    } finally {
      setSent(null);
    }
  };
  return (
    <Stack gap="sm">
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
          void dropped(e.dataTransfer).then(take);
        }}
      >
        <Stack align="center" gap="xs">
          <IconUpload size={28} aria-hidden />
          <Text fw={600}>{text.upload.drop}</Text>
          <Text size="sm" c="dimmed" ta="center">
            {text.upload.hint}
          </Text>
          <Group gap="sm">
            <FileButton multiple onChange={(files) => void take(files.map((file) => ({ path: file.name, file })))}>
              {(props) => (
                <Button variant="default" {...props}>
                  {text.upload.files}
                </Button>
              )}
            </FileButton>
            <FileButton
              multiple
              inputProps={{ webkitdirectory: '' }}
              onChange={(files) => void take(files.map((file) => ({ path: file.webkitRelativePath, file })))}
            >
              {(props) => (
                <Button variant="default" leftSection={<IconFolderUp size={18} />} {...props}>
                  {text.upload.folder}
                </Button>
              )}
            </FileButton>
          </Group>
        </Stack>
      </Card>
      {sent !== null && (
        <div>
          <Progress value={sent * 100} aria-label={text.upload.sending} animated />
          <Text size="sm" c="dimmed" mt={4}>
            {text.upload.sending} {Math.round(sent * 100)} %
          </Text>
        </div>
      )}
      <ProblemBox error={error} />
    </Stack>
  );
}
